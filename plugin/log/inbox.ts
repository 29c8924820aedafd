import type { ToThread } from './messages.ts'
import type { Intent } from './rows.ts'

/** Where intents from the log thread arrive. */
export interface IntentInbox {
  take(intent: Intent): void
  onIntent(obey: (intent: Intent) => Promise<string>): void
}

/** Hands each open intent to whoever obeys, once at a time, and sends back the answer; keeps them until somebody obeys. */
export function createIntentInbox(reply: (answer: Extract<ToThread, { kind: 'answer' }>) => void): IntentInbox {
  const underWay = new Set<number>()
  const waiting: Intent[] = []
  let obey: ((intent: Intent) => Promise<string>) | undefined
  const give = async (intent: Intent): Promise<void> => {
    if (obey === undefined) return void waiting.push(intent)
    const { intentId } = intent
    try {
      reply({ kind: 'answer', intentId, state: 'done', text: await obey(intent) })
    } catch (cause) {
      reply({ kind: 'answer', intentId, state: 'refused', text: cause instanceof Error ? cause.message : String(cause) })
    }
    underWay.delete(intentId)
  }
  return {
    take(intent: Intent): void {
      // A log thread that was started again hands out anew what has no answer yet.
      if (underWay.has(intent.intentId)) return
      underWay.add(intent.intentId)
      void give(intent)
    },
    onIntent(whoObeys: (intent: Intent) => Promise<string>): void {
      obey = whoObeys
      for (const intent of waiting.splice(0)) void give(intent)
    },
  }
}
