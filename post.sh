set -e
# index row type
python3 - <<'P'
from pathlib import Path
import re
def sub(f, *pairs):
    p=Path(f); s=p.read_text()
    for a,b in pairs:
        if a not in s: print("MISSING", f, a[:60])
        s=s.replace(a,b)
    p.write_text(s)
P
