// The telephone's WebSocket, on a thread of its own: a busy page delays no audio.

const MOST_WAITING = 16_000 // bytes; a network that takes no more loses microphone audio instead of delaying it

let socket = null, loudspeaker = null

onmessage = ({ data }) => {
  if (data.open) open(data)
  else if (data.audio) connect(data.audio)
  else if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(data))
}

function connect({ microphone, loudspeaker: to }) {
  loudspeaker = to
  microphone.onmessage = ({ data }) => {
    if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_WAITING) socket.send(data)
  }
}

// A telephone that waits gets its audio when it has answered.
function open({ open: address, ...audio }) {
  socket = new WebSocket(address)
  socket.binaryType = 'arraybuffer'
  if (audio.microphone) connect(audio)
  socket.onmessage = ({ data }) => {
    if (typeof data !== 'string') {
      loudspeaker?.postMessage(data, [data])
      return
    }
    const message = JSON.parse(data)
    if (message.rate) loudspeaker?.postMessage({ rate: message.rate })
    else postMessage(message)
  }
  socket.onclose = ({ code }) => postMessage({ state: 'closed', code })
}
