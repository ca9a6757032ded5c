"""Everything specific to Omnigent: event models, the contract, paths, the connect snapshot, event summaries."""
