// The list of keys.

import { button, h, icon } from './dom.js'

const KEYS = [
  [
    'The playhead',
    [
      ['space', 'play and pause'],
      ['← →', 'one second back, forward'],
      ['shift ← →', 'ten seconds'],
      [', .', 'previous event, next event'],
      ['[ ]', 'previous turn, next turn'],
      ['Home End', 'the beginning, the end'],
      ['< >', 'slower, faster'],
      ['l', 'live: pause, continue'],
    ],
  ],
  [
    'Looking',
    [
      ['j k', 'next row of the list, previous row'],
      ['n p', 'next finding, previous finding'],
      ['+ -', 'zoom the timeline'],
      ['0', 'show all of it'],
      ['f', 'filter the wire'],
      ['o', 'open or fold a run of deltas'],
      ['m M', 'next model call, previous model call'],
      ['c', 'from a delta to its partner on the other hop'],
      ['1 2 3 4', 'conversation, wire, findings, about'],
      ['Esc', 'clear the selection'],
    ],
  ],
  [
    'Everywhere',
    [
      ['/', 'search'],
      ['g', 'all sessions'],
      ['t', 'light or dark'],
      ['?', 'these keys'],
    ],
  ],
]

export class Help {
  constructor(keys = KEYS) {
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
        ...keys.map(([title, rows]) =>
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
