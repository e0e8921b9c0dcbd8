// A table body that has elements only for the rows one can see, so that 2,000 rows cost as little as 20.
import { el } from './dom.js'

const ROW_HEIGHT = 44 // px, as in style.css
const EXTRA = 4 // rows above and below those in sight

export class Rows {
  // make() returns a <tr>; write(row, item) fills it for one item.
  constructor(table, scroll, make, write) {
    this.table = table
    this.scroll = scroll
    this.make = make
    this.write = write
    this.items = []
    this.pool = []
    this.above = space(table)
    this.below = space(table)
    table.tBodies[0].append(this.above, this.below)
    scroll.addEventListener('scroll', () => this.draw(), { passive: true })
    new ResizeObserver(() => this.draw()).observe(scroll)
  }

  show(items) {
    this.items = items
    this.table.setAttribute('aria-rowcount', String(items.length + 1))
    this.draw()
  }

  draw() {
    const height = this.scroll.clientHeight || 400
    const most = Math.ceil(height / ROW_HEIGHT) + 2 * EXTRA
    const first = Math.max(0, Math.min(Math.floor(this.scroll.scrollTop / ROW_HEIGHT) - EXTRA, this.items.length - most))
    const count = Math.min(most, this.items.length - first)
    while (this.pool.length < count) {
      const row = this.make()
      this.pool.push(row)
      this.below.before(row)
    }
    this.pool.forEach((row, i) => {
      row.hidden = i >= count
      row.item = i < count ? this.items[first + i] : null
      if (!row.item) return
      row.setAttribute('aria-rowindex', String(first + i + 2))
      this.write(row, row.item)
    })
    setHeight(this.above, first)
    setHeight(this.below, this.items.length - first - count)
  }
}

const space = table => el('tr', { class: 'space', 'aria-hidden': 'true' }, el('td', { colspan: String(table.tHead.rows[0].cells.length) }))

function setHeight(row, rows) {
  row.hidden = rows <= 0
  row.firstChild.style.setProperty('height', `${Math.max(0, rows) * ROW_HEIGHT}px`)
}
