import { ConnectionError, ERROR, FLAG, FRAME, type Frame, FrameReader, SETTING, unpadded } from './frames.ts'
import { HeaderBlocks } from './header-blocks.ts'
import { type HeaderList, HpackError, MALFORMED } from './hpack.ts'
import { Outbox } from './outbox.ts'
import { applySettings, DEFAULT_PEER, DEFAULT_WINDOW_BYTES, type Peer, settingsPayload, uint32, WINDOW_BYTES_MAX } from './peer.ts'
import { SendWindow } from './send-window.ts'
import { type Accept, Http2Stream } from './stream.ts'

/**
 * The server's end of one HTTP/2 connection (RFC 9113), without a socket: bytes in, frames handled, bytes out once per turn of the event
 * loop. It speaks what gRPC needs and no more: no push, no priorities, header blocks out are constants. Written by hand because node:http2
 * alone took more CPU per call than the whole picker may: each stream is a Duplex there, and each reset builds an Error.
 */

/** Streams that one connection may have open; 5,000 are tested, Envoy opens a further connection beyond. */
const STREAMS_MAX = 20_000
/** A prompt of 231 KB needs no round trip. */
const STREAM_WINDOW_BYTES = 1_048_576
/** All streams together; credit is given back as bytes arrive, so the streams' own windows are what holds a peer back. */
const CONNECTION_WINDOW_BYTES = WINDOW_BYTES_MAX
const FRAME_BYTES_MAX = 65_536
const HEADER_BYTES_MAX = 65_536
const REQUIRED = [':method', ':scheme', ':path'] as const
/** A peer that lets this much lie unread is gone or hostile. */
const UNREAD_BYTES_MAX = 268_435_456

export interface ConnectionParts {
  /** Writes these to the peer, in order; returns how many bytes lie unsent. */
  readonly write: (pieces: readonly Buffer[]) => number
  /** Ends the transport after what was written. */
  readonly close: () => void
  /** Runs the function once, at the end of this turn of the event loop. */
  readonly defer: (flush: () => void) => void
  readonly accept: Accept
}

/** Invariant: a stream is in `#streams` from its HEADERS until both ends are done or one has reset it, and its handler hears of the end once. */
export class Http2Connection {
  readonly #parts: ConnectionParts
  readonly #reader = new FrameReader(FRAME_BYTES_MAX)
  readonly #blocks = new HeaderBlocks(HEADER_BYTES_MAX)
  readonly #out = new Outbox()
  readonly #streams = new Map<number, Http2Stream>()
  #lastStreamId = 0
  #settled = false
  #leaving = false
  #closed = false
  #deferred = false
  #takenBytes = 0
  readonly #window = new SendWindow()
  #peer: Peer = DEFAULT_PEER
  readonly #handlers: Readonly<Record<number, (frame: Frame) => void>> = {
    [FRAME.data]: (frame) => this.#onData(frame),
    [FRAME.headers]: (frame) => this.#onHeaders(frame),
    [FRAME.priority]: (frame) => this.#onPriority(frame),
    [FRAME.reset]: (frame) => this.#onReset(frame),
    [FRAME.settings]: (frame) => this.#onSettings(frame),
    [FRAME.push]: () => this.#onPush(),
    [FRAME.ping]: (frame) => this.#onPing(frame),
    [FRAME.goAway]: (frame) => this.#onGoAway(frame),
    [FRAME.window]: (frame) => this.#onWindow(frame),
    [FRAME.continuation]: (frame) => this.#onHeaders(frame),
  }

  constructor(parts: ConnectionParts) {
    this.#parts = parts
    this.#send(
      FRAME.settings,
      0,
      0,
      settingsPayload([
        [SETTING.tableBytes, 0],
        [SETTING.streamsMax, STREAMS_MAX],
        [SETTING.windowBytes, STREAM_WINDOW_BYTES],
        [SETTING.frameBytesMax, FRAME_BYTES_MAX],
        [SETTING.listBytesMax, HEADER_BYTES_MAX],
      ]),
    )
    this.#send(FRAME.window, 0, 0, uint32(CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES))
  }

  get openStreams(): number {
    return this.#streams.size
  }

  receive(chunk: Buffer): void {
    if (this.#closed) return
    try {
      this.#reader.push(chunk, (frame) => this.#handle(frame))
    } catch (error) {
      if (error instanceof ConnectionError) this.#fail(error.code, error.message)
      else if (error instanceof HpackError) this.#fail(ERROR.compression, error.message)
      else throw error
    }
  }

  /** Takes no new streams; closes when the open ones have ended. */
  leave(): void {
    if (this.#leaving || this.#closed) return
    this.#leaving = true
    this.#send(FRAME.goAway, 0, 0, Buffer.concat([uint32(this.#lastStreamId), uint32(ERROR.none)]))
    this.#closeWhenDone()
  }

  /** The transport is gone: every open stream's handler is told. */
  lost(): void {
    this.#closed = true
    const streams = [...this.#streams.values()]
    this.#streams.clear()
    for (const stream of streams) stream.gone()
  }

  /** For streams: one frame, to be written with all others of this turn. */
  #send(type: number, flags: number, streamId: number, payload: Buffer): void {
    if (this.#closed) return
    this.#out.add(type, flags, streamId, payload)
    if (this.#deferred) return
    this.#deferred = true
    this.#parts.defer(() => this.#flush())
  }

  #flush(): void {
    this.#deferred = false
    if (this.#out.empty) return
    if (this.#parts.write(this.#out.take()) > UNREAD_BYTES_MAX) this.#fail(ERROR.enhanceYourCalm, 'the peer does not read')
  }

  #fail(code: number, why: string): void {
    if (this.#closed) return
    this.#send(FRAME.goAway, 0, 0, Buffer.concat([uint32(this.#lastStreamId), uint32(code), Buffer.from(why)]))
    this.#flush()
    this.#parts.close()
    this.lost()
  }

  #closeWhenDone(): void {
    if (!this.#leaving || this.#streams.size > 0 || this.#closed) return
    this.#flush()
    this.#parts.close()
    this.#closed = true
  }

  #handle(frame: Frame): void {
    if (this.#closed) return
    if (!this.#settled && frame.type !== FRAME.settings) throw new ConnectionError('SETTINGS must come first', ERROR.protocol)
    this.#blocks.check(frame)
    // Frames of a type that is not known are to be ignored (RFC 9113, 4.1).
    this.#handlers[frame.type]?.(frame)
  }

  #onGoAway(frame: Frame): void {
    if (frame.streamId !== 0) throw new ConnectionError('GOAWAY on a stream', ERROR.protocol)
    this.leave()
  }

  #onPriority(frame: Frame): void {
    const { streamId, payload } = frame
    if (streamId === 0) throw new ConnectionError('PRIORITY without a stream', ERROR.protocol)
    if (payload.length !== 5) this.#reset(streamId, ERROR.frameSize)
    else if ((payload.readUInt32BE(0) & 0x7fffffff) === streamId) this.#reset(streamId, ERROR.protocol)
  }

  #onPush(): void {
    throw new ConnectionError('a client does not push', ERROR.protocol)
  }

  #onData(frame: Frame): void {
    const size = frame.payload.length
    const { streamId } = frame
    if (streamId === 0 || streamId > this.#lastStreamId) throw new ConnectionError('DATA on a stream that is idle', ERROR.protocol)
    this.#credit(size)
    const stream = this.#streams.get(streamId)
    // What crosses a reset of ours on the wire is passed over.
    if (!stream) return
    if (stream.remoteEnded || !stream.takes(size)) {
      this.#reset(streamId, stream.remoteEnded ? ERROR.streamClosed : ERROR.flowControl)
      return
    }
    stream.data(unpadded(frame), size)
    if (frame.flags & FLAG.endStream) this.#endRemote(stream)
  }

  /** Gives back what was taken, once half of a window's worth is due: the connection as a whole never holds a peer back. */
  #credit(bytes: number): void {
    this.#takenBytes += bytes
    if (this.#takenBytes < STREAM_WINDOW_BYTES) return
    this.#send(FRAME.window, 0, 0, uint32(this.#takenBytes))
    this.#takenBytes = 0
  }

  #onHeaders(frame: Frame): void {
    const block = this.#blocks.take(frame)
    if (!block) return
    const stream = this.#streams.get(block.streamId)
    if (stream) this.#onTrailers(stream, block.endStream)
    else if (block.streamId > this.#lastStreamId) this.#open(block.streamId, block.headers, block.endStream)
  }

  #onTrailers(stream: Http2Stream, endStream: boolean): void {
    if (stream.remoteEnded) throw new ConnectionError('HEADERS after the end of a stream', ERROR.streamClosed)
    if (!endStream) throw new ConnectionError('HEADERS in the middle of a stream', ERROR.protocol)
    this.#endRemote(stream)
  }

  #open(streamId: number, headers: HeaderList, endStream: boolean): void {
    this.#lastStreamId = streamId
    const isRequest = !headers.has(MALFORMED) && REQUIRED.every((name) => headers.has(name))
    if (!isRequest || this.#leaving || this.#streams.size >= STREAMS_MAX) {
      this.#reset(streamId, isRequest ? ERROR.refusedStream : ERROR.protocol)
      return
    }
    const stream = new Http2Stream({
      id: streamId,
      windowBytes: STREAM_WINDOW_BYTES,
      peer: () => this.#peer,
      send: (type, flags, payload) => this.#send(type, flags, streamId, payload),
      takeWindow: (bytes) => this.#window.take(stream, bytes),
      ended: () => this.#endLocal(stream),
      reset: (code) => this.#reset(streamId, code),
    })
    this.#streams.set(streamId, stream)
    stream.begin(this.#parts.accept, headers)
    if (endStream) this.#endRemote(stream)
  }

  #endRemote(stream: Http2Stream): void {
    stream.endRemote()
    if (stream.localEnded) this.#remove(stream)
  }

  /** Our end is said. A peer that has not finished is told not to go on. */
  #endLocal(stream: Http2Stream): void {
    if (stream.remoteEnded) this.#remove(stream)
    else this.#reset(stream.id, ERROR.none)
  }

  #remove(stream: Http2Stream): void {
    this.#streams.delete(stream.id)
    this.#window.forget(stream)
    this.#closeWhenDone()
  }

  #reset(streamId: number, code: number): void {
    this.#send(FRAME.reset, 0, streamId, uint32(code))
    const stream = this.#streams.get(streamId)
    if (!stream) return
    this.#remove(stream)
    stream.gone()
  }

  #onReset(frame: Frame): void {
    if (frame.streamId === 0 || frame.streamId > this.#lastStreamId)
      throw new ConnectionError('a stream that is idle is reset', ERROR.protocol)
    if (frame.payload.length !== 4) throw new ConnectionError('RST_STREAM of an odd size', ERROR.frameSize)
    const stream = this.#streams.get(frame.streamId)
    if (!stream) return
    this.#remove(stream)
    stream.gone()
  }

  #onWindow(frame: Frame): void {
    if (frame.payload.length !== 4) throw new ConnectionError('WINDOW_UPDATE of an odd size', ERROR.frameSize)
    const bytes = frame.payload.readUInt32BE(0) & 0x7fffffff
    if (frame.streamId > this.#lastStreamId) throw new ConnectionError('WINDOW_UPDATE on a stream that is idle', ERROR.protocol)
    const stream = this.#streams.get(frame.streamId)
    if (bytes === 0) {
      if (frame.streamId === 0) throw new ConnectionError('WINDOW_UPDATE of nothing', ERROR.protocol)
      this.#reset(frame.streamId, ERROR.protocol)
    } else if (frame.streamId !== 0) {
      if (stream && !stream.widen(bytes)) this.#reset(frame.streamId, ERROR.flowControl)
    } else {
      this.#window.widen(bytes)
    }
  }

  #onSettings(frame: Frame): void {
    this.#settled = true
    if (frame.streamId !== 0) throw new ConnectionError('SETTINGS on a stream', ERROR.protocol)
    if (frame.flags & FLAG.ack) {
      if (frame.payload.length > 0) throw new ConnectionError('SETTINGS acknowledged with words', ERROR.frameSize)
      return
    }
    const before = this.#peer.windowBytes
    this.#peer = applySettings(this.#peer, frame.payload)
    this.#send(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0))
    const wider = this.#peer.windowBytes - before
    if (wider === 0) return
    for (const stream of [...this.#streams.values()])
      if (!stream.widen(wider)) throw new ConnectionError('a window is too wide', ERROR.flowControl)
  }

  #onPing(frame: Frame): void {
    if (frame.streamId !== 0) throw new ConnectionError('PING on a stream', ERROR.protocol)
    if (frame.payload.length !== 8) throw new ConnectionError('PING of an odd size', ERROR.frameSize)
    if (!(frame.flags & FLAG.ack)) this.#send(FRAME.ping, FLAG.ack, 0, Buffer.from(frame.payload))
  }
}
