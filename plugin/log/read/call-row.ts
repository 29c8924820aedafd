/** What everyone who reads a call from the log reads of its row. Null is unknown or does not apply. Durations from arrival, ms. */
export interface CallRow {
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly gateway: string
  readonly api: string
  readonly pool: string
  readonly model: string
  readonly application: string
  readonly tenant: string
  readonly task: string | null
  readonly stream: number
  readonly promptBytes: number
  readonly promptTokensEstimate: number
  readonly maxTokens: number | null
  readonly instanceId: number | null
  readonly policy: string
  readonly propensity: number
  readonly explored: number
  readonly policyVersion: string
  readonly lengthVersion: string
  readonly decisionUs: number
  readonly heldMs: number
  readonly predictedOutputTokens: number | null
  readonly outcome: string
  readonly attempts: number
  readonly placedMs: number
  readonly ttftMs: number | null
  readonly tpotMs: number | null
  readonly e2eMs: number
  readonly promptTokens: number | null
  readonly cachedPromptTokens: number | null
  readonly outputTokens: number | null
  readonly censored: number
}

/** The columns of a CallRow, of a query that reads the table `call`. */
export const CALL_ROW = `call.call_id AS callId, arrived_unix_ms AS arrivedUnixMs, gateway, api, pool, model, application, tenant, task, stream,
  prompt_bytes AS promptBytes, prompt_tokens_estimate AS promptTokensEstimate, max_tokens AS maxTokens, instance_id AS instanceId, policy,
  propensity, explored, policy_version AS policyVersion, length_version AS lengthVersion, decision_us AS decisionUs, held_ms AS heldMs,
  predicted_output_tokens AS predictedOutputTokens, outcome, attempts, placed_ms AS placedMs, ttft_ms AS ttftMs, tpot_ms AS tpotMs,
  e2e_ms AS e2eMs, prompt_tokens AS promptTokens, cached_prompt_tokens AS cachedPromptTokens, output_tokens AS outputTokens, censored`
