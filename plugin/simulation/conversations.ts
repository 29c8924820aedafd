import type { Rng } from '../rng.ts'
import { promptText } from './prompt-text.ts'
import { countTokens } from './tokens.ts'

export interface Message {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

export interface Conversation {
  /** Ends with the user's turn that is to be answered. */
  readonly messages: readonly Message[]
}

/** Conversations that go on at the same time; more than a burst needs, so that one is mostly free. */
const CONVERSATIONS = 40

/** A conversation that has grown beyond this starts anew: long enough for a prefix to pay, short enough not to change the mix. */
const LONGEST_TOKENS = 600

/** Conversations that grow turn by turn, each sending all that was said before: the case for a prefix cache. */
export class Conversations {
  readonly #rng: Rng
  readonly #idle: (readonly Message[])[] = Array.from({ length: CONVERSATIONS }, () => [])

  constructor(rng: Rng) {
    this.#rng = rng
  }

  /** The next turn of a conversation nobody is in; a new one when all are busy. */
  take(): Conversation {
    const said = this.#idle.splice(this.#rng.int(Math.max(1, this.#idle.length)), 1)[0] ?? []
    const content = promptText({ promptTokens: 12 + this.#rng.int(24), task: 'qna', seed: this.#rng.int(2 ** 31) })
    return { messages: [...said, { role: 'user', content }] }
  }

  /** Gives a conversation back with its answer; without one it is forgotten. */
  give(conversation: Conversation, answer: string | undefined): void {
    if (this.#idle.length >= CONVERSATIONS) return
    const said: readonly Message[] = answer === undefined ? [] : [...conversation.messages, { role: 'assistant', content: answer }]
    const tokens = said.reduce((sum, message) => sum + countTokens(message.content), 0)
    this.#idle.push(tokens > LONGEST_TOKENS ? [] : said)
  }
}
