// The telephone's WebSocket, on a thread of its own: a busy page delays no audio.

const MOST_WAITING = 16_000 // bytes; a network that takes no more loses microphone audio instead of delaying it

let socket = null, loudspeaker = null

onmessage = ({ data }) => {
  if (data.open) open(data)
  else if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(data))
}

function open({ open: address, microphone, loudspeaker: to }) {
  loudspeaker = to
  socket = new WebSocket(address)
  socket.binaryType = 'arraybuffer'
  microphone.onmessage = ({ data }) => {
    if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_WAITING) socket.send(data)
  }
  socket.onmessage = ({ data }) => {
    if (typeof data !== 'string') {
      loudspeaker.postMessage(data, [data])
      return
    }
    const message = JSON.parse(data)
    if (message.rate) loudspeaker.postMessage({ rate: message.rate })
    else postMessage(message)
  }
  socket.onclose = ({ code }) => postMessage({ state: 'closed', code })
}
