// Elements from values: no HTML is ever parsed, so nothing a caller or a row says can become markup.

export const byId = id => document.getElementById(id)

// Return an element; attributes that are null or false are left out, functions become listeners.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children)
}

// Return an SVG element.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children)
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name, value)
    else if (value !== null && value !== false && value !== undefined) node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...children.filter(child => child !== null && child !== undefined))
  return node
}

// Write only what has changed: an unchanged text costs no layout and is not read out again.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name
}
