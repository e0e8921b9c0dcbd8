// What the operator has chosen (language, theme), kept by the browser where it allows that.

export function readChoice(name) {
  try {
    return localStorage.getItem(`audiosocket.${name}`) ?? ''
  } catch {
    return ''
  }
}

export function writeChoice(name, value) {
  try {
    localStorage.setItem(`audiosocket.${name}`, value)
  } catch {
    // Storage is switched off: the choice lasts until the page is closed.
  }
}
