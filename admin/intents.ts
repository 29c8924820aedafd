import type { Control } from '../plugin/log/control.ts'

/** The router obeys within a second; waiting this long for it lets most answers stand on the very next page. */
const WAIT_MS = 1_500
const LOOK_MS = 50

/** Resolves when the intent is answered, or when that takes too long to wait for. */
export async function waitForAnswer({ intents }: Pick<Control, 'intents'>, intentId: number): Promise<void> {
  for (let waited = 0; waited < WAIT_MS && intents.get(intentId)?.state === 'asked'; waited += LOOK_MS)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
}
