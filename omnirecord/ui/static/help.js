// The keys, listed.

import { button, h, icon } from './dom.js'

const KEYS = [
  [
    'The playhead',
    [
      ['space', 'play and pause'],
      ['← →', 'one second back, on'],
      ['shift ← →', 'ten seconds'],
      [', .', 'the event before, the next one'],
      ['[ ]', 'the turn before, the next one'],
      ['Home End', 'the beginning, the end'],
      ['< >', 'slower, faster'],
      ['l', 'live: pause here, go on'],
    ],
  ],
  [
    'Looking',
    [
      ['j k', 'the next event in the list, the one before'],
      ['n p', 'the next finding, the one before'],
      ['+ -', 'zoom the timeline'],
      ['0', 'show all of it'],
      ['f', 'filter the wire'],
      ['o', 'open a run of deltas, fold it'],
      ['1 2 3 4', 'conversation, wire, findings, about'],
      ['Esc', 'close what is selected'],
    ],
  ],
  [
    'Everywhere',
    [
      ['/', 'search'],
      ['g', 'the list of sessions'],
      ['t', 'light or dark'],
      ['?', 'these keys'],
    ],
  ],
]

export class Help {
  constructor() {
    this.element = h(
      'dialog',
      { class: 'help', 'aria-labelledby': 'help-title' },
      h(
        'header',
        {},
        h('h2', { id: 'help-title' }, 'Keys'),
        button('Close', 'Esc', () => this.element.close(), icon('close')),
      ),
      h(
        'div',
        { class: 'help-keys' },
        ...KEYS.map(([title, rows]) =>
          h(
            'section',
            {},
            h('h3', {}, title),
            h(
              'dl',
              {},
              ...rows.flatMap(([keys, what]) => [
                h('dt', {}, ...keys.split(' ').map(key => h('kbd', {}, key))),
                h('dd', {}, what),
              ]),
            ),
          ),
        ),
      ),
    )
  }

  toggle() {
    this.element.open ? this.element.close() : this.element.showModal()
  }
}
