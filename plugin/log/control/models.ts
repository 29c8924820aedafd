import type { Clock } from '../../clock.ts'
import { addAudit } from './audit.ts'
import type { Door } from './door.ts'
import { addIntent, type Page, pageLimit } from './intents.ts'
import { addNotice } from './notices.ts'
import { RegistryRefused } from './refused.ts'

export type ModelKind = 'length' | 'policy' | 'profile'
export type ModelAlias = 'champion' | 'challenger' | 'previous'

/** A trained version: immutable, named by its content. `card` is JSON; `featureHash` names the column list it was trained on, null where it reads none. */
export interface ModelRecord {
  readonly modelId: number
  readonly kind: ModelKind
  readonly version: string
  /** Of the folder's files by name and content (learning/registry.ts). */
  readonly sha256: string
  readonly featureHash: string | null
  readonly card: string
  readonly alias: ModelAlias | null
  readonly registeredUnixMs: number
  /** Below the data directory. */
  readonly folder: string
  readonly runId: number | null
  /** Version it was trained on from, 'base' for the shipped one; null where it started from nothing. */
  readonly parent: string | null
  /** Of a policy: the profiles that it was trained and judged with; null where there were none but what shipped. */
  readonly profileModelId: number | null
}

/** What an evaluation found. `numbers` is JSON. */
export interface VerdictRecord {
  readonly verdictId: number
  readonly modelId: number
  readonly runId: number | null
  /** 0 or 1: may be promoted. */
  readonly passed: number
  readonly words: string
  readonly numbers: string
  readonly madeUnixMs: number
}

/** One change of what serves. Null models: what ships (length, profile), or the rule that the configuration names (policy). */
export interface Promotion {
  readonly promotionId: number
  readonly kind: ModelKind
  readonly action: 'promote' | 'roll back' | 'refused'
  readonly modelId: number | null
  readonly fromModelId: number | null
  readonly who: string
  readonly why: string
  readonly atUnixMs: number
  /** The change of the profiles that was made with this one of the policy. */
  readonly withPromotionId: number | null
}

/** Who asked for a change, and why. */
export interface Asked {
  readonly who: string
  readonly why: string
  /** Where from; empty for a command or a process. */
  readonly address?: string
}

/** The change is made; the router swaps when it obeys the intent, or refuses it, and then the change is undone. */
export interface Changed {
  readonly promotionId: number
  readonly intentId: number
}

/** What the intent `serve` says: which model serves for this kind from now on. */
export interface ServeSubject {
  readonly promotionId: number
  readonly kind: ModelKind
  /** Null: what ships, or the configured rule. */
  readonly modelId: number | null
}

export interface Models {
  /** Throws when this kind has that version already. The new version has no alias. */
  register(
    model: Pick<ModelRecord, 'kind' | 'version' | 'sha256' | 'featureHash' | 'card'> &
      Partial<Pick<ModelRecord, 'folder' | 'runId' | 'parent' | 'profileModelId'>>,
  ): number
  /** Newest first. */
  list(kind?: ModelKind): ModelRecord[]
  get(modelId: number): ModelRecord | undefined
  byVersion(kind: ModelKind, version: string): ModelRecord | undefined
  withAlias(kind: ModelKind, alias: ModelAlias): ModelRecord | undefined
  /** Makes it the challenger of its kind; whoever was is none now. A champion stays champion. */
  challenge(modelId: number): void
  /** The profiles that have to serve with a policy, since it was trained and judged with them; undefined where they, or newer ones, serve already. */
  goesWith(modelId: number): ModelRecord | undefined
  /** Makes it the champion, and with it what it goes with: aliases, history, audit and the router's intents in one transaction. Throws RegistryRefused when it is not there or serves already. */
  promote(modelId: number, asked: Asked): Changed
  /** What served before the champion serves again, and what served before what was promoted with it. Throws RegistryRefused when no trained model serves. */
  rollBack(kind: ModelKind, asked: Asked): Changed
  /** Newest first. */
  history(page: Page & { readonly kind?: ModelKind }): Promotion[]
  addVerdict(verdict: Pick<VerdictRecord, 'modelId' | 'runId' | 'words' | 'numbers'> & { readonly passed: boolean }): number
  /** Newest first. */
  verdicts(modelId: number): VerdictRecord[]
}

const MODEL = `model_id AS modelId, kind, version, sha256, feature_hash AS featureHash, card, alias,
  registered_unix_ms AS registeredUnixMs, folder, run_id AS runId, parent, profile_model_id AS profileModelId`
const PROMOTION = `promotion_id AS promotionId, kind, action, model_id AS modelId, from_model_id AS fromModelId, who, why, at_unix_ms AS atUnixMs,
  with_promotion_id AS withPromotionId`
const VERDICT = `verdict_id AS verdictId, model_id AS modelId, run_id AS runId, passed, words, numbers, made_unix_ms AS madeUnixMs`

const getModel = (door: Door, modelId: number): ModelRecord | undefined =>
  door.get<ModelRecord>(`SELECT ${MODEL} FROM model WHERE model_id = ?`, [modelId])

const withAlias = (door: Door, kind: ModelKind, alias: ModelAlias): ModelRecord | undefined =>
  door.get<ModelRecord>(`SELECT ${MODEL} FROM model WHERE kind = ? AND alias = ?`, [kind, alias])

/** The registry of trained versions as stored behind `door`. */
export function createModels(door: Door, clock: Clock): Models {
  const get = (modelId: number): ModelRecord | undefined => getModel(door, modelId)
  const demanded = (modelId: number): ModelRecord => {
    const model = get(modelId)
    if (model === undefined) throw new RegistryRefused(`there is no model ${modelId}`)
    return model
  }
  return {
    register({ kind, version, sha256, featureHash, card, folder = '', runId = null, parent = null, profileModelId = null }) {
      const sql = `INSERT INTO model (kind, version, sha256, feature_hash, card, registered_unix_ms, folder, run_id, parent, profile_model_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
      return door.run(sql, [kind, version, sha256, featureHash, card, clock.nowUnixMs(), folder, runId, parent, profileModelId]).lastId
    },
    list(kind) {
      return door.all<ModelRecord>(`SELECT ${MODEL} FROM model WHERE (@kind IS NULL OR kind = @kind) ORDER BY model_id DESC`, {
        kind: kind ?? null,
      })
    },
    get,
    byVersion: (kind, version) => door.get<ModelRecord>(`SELECT ${MODEL} FROM model WHERE kind = ? AND version = ?`, [kind, version]),
    withAlias: (kind, alias) => withAlias(door, kind, alias),
    challenge(modelId) {
      door.together(() => {
        const { kind, alias } = demanded(modelId)
        if (alias === 'champion') return
        door.run(`UPDATE model SET alias = NULL WHERE kind = ? AND alias = 'challenger'`, [kind])
        door.run(`UPDATE model SET alias = 'challenger' WHERE model_id = ?`, [modelId])
      })
    },
    goesWith: (modelId) => profilesOf(door, modelId),
    promote(modelId, asked) {
      return door.together(() => {
        const { kind, version, alias } = demanded(modelId)
        if (alias === 'champion') throw new RegistryRefused(`${kind} model ${version} serves already`)
        const nowUnixMs = clock.nowUnixMs()
        const profiles = profilesOf(door, modelId)
        const why = `goes with ${version}`
        // First, so that the router knows the engines when it makes the policy.
        const first =
          profiles && change(door, { kind: 'profile', action: 'promote', toId: profiles.modelId, asked: { ...asked, why }, nowUnixMs })
        return change(door, { kind, action: 'promote', toId: modelId, asked, nowUnixMs, withPromotionId: first?.promotionId })
      })
    },
    rollBack(kind, asked) {
      return door.together(() => {
        const champion = withAlias(door, kind, 'champion')
        if (champion === undefined) throw new RegistryRefused(`no trained ${kind} model serves: there is nothing to roll back`)
        const made = lastPromotion(door, champion)
        const nowUnixMs = clock.nowUnixMs()
        const changed = change(door, { kind, action: 'roll back', toId: made?.fromModelId ?? null, asked, nowUnixMs })
        takeBack(door, made?.withPromotionId, { asked: { ...asked, why: `went with ${champion.version}` }, nowUnixMs })
        return changed
      })
    },
    history({ beforeId, limit, kind }) {
      const sql = `SELECT ${PROMOTION} FROM promotion WHERE promotion_id < @before AND (@kind IS NULL OR kind = @kind)
        ORDER BY promotion_id DESC LIMIT @limit`
      return door.all<Promotion>(sql, { before: beforeId ?? Number.MAX_SAFE_INTEGER, kind: kind ?? null, limit: pageLimit(limit) })
    },
    addVerdict({ modelId, runId, passed, words, numbers }) {
      const sql = 'INSERT INTO verdict (model_id, run_id, passed, words, numbers, made_unix_ms) VALUES (?, ?, ?, ?, ?, ?)'
      return door.run(sql, [modelId, runId, passed ? 1 : 0, words, numbers, clock.nowUnixMs()]).lastId
    },
    verdicts: (modelId) => door.all<VerdictRecord>(`SELECT ${VERDICT} FROM verdict WHERE model_id = ? ORDER BY verdict_id DESC`, [modelId]),
  }
}

/** The change that made this model serve, the last such one. */
function lastPromotion(door: Door, { kind, modelId }: Pick<ModelRecord, 'kind' | 'modelId'>): Promotion | undefined {
  const sql = `SELECT ${PROMOTION} FROM promotion WHERE kind = ? AND action = 'promote' AND model_id = ? ORDER BY promotion_id DESC LIMIT 1`
  return door.get<Promotion>(sql, [kind, modelId])
}

/** See `Models.goesWith`. */
export function profilesOf(door: Door, modelId: number): ModelRecord | undefined {
  const { profileModelId } = getModel(door, modelId) ?? { profileModelId: null }
  if (profileModelId === null) return undefined
  const serving = withAlias(door, 'profile', 'champion')
  return serving && serving.modelId >= profileModelId ? undefined : getModel(door, profileModelId)
}

/** Undoes a change of what serves, if that is what serves still. */
function takeBack(door: Door, promotionId: number | null | undefined, parts: Pick<Change, 'asked' | 'nowUnixMs'>): void {
  const made = promotionId == null ? undefined : getPromotion(door, promotionId)
  if (made === undefined || withAlias(door, made.kind, 'champion')?.modelId !== made.modelId) return
  change(door, { ...parts, kind: made.kind, action: 'roll back', toId: made.fromModelId })
}

const getPromotion = (door: Door, promotionId: number): Promotion | undefined =>
  door.get<Promotion>(`SELECT ${PROMOTION} FROM promotion WHERE promotion_id = ?`, [promotionId])

interface Change {
  readonly kind: ModelKind
  readonly action: 'promote' | 'roll back'
  readonly toId: number | null
  readonly asked: Asked
  readonly nowUnixMs: number
  readonly withPromotionId?: number | undefined
}

function change(door: Door, { kind, action, toId, asked, nowUnixMs, withPromotionId }: Change): Changed {
  const from = withAlias(door, kind, 'champion')
  const to = toId === null ? undefined : getModel(door, toId)
  seat(door, kind, { championId: toId, previousId: action === 'promote' ? (from?.modelId ?? null) : null })
  const promotionId = note(door, {
    kind,
    action,
    modelId: toId,
    fromModelId: from?.modelId ?? null,
    ...asked,
    atUnixMs: nowUnixMs,
    withPromotionId: withPromotionId ?? null,
  })
  const version = (model: ModelRecord | undefined): string => model?.version ?? 'shipped'
  const { who, why, address = '' } = asked
  addAudit(
    door,
    { who, address, action: `${action} model`, subject: kind, before: version(from), after: `${version(to)}: ${why}` },
    nowUnixMs,
  )
  const subject: ServeSubject = { promotionId, kind, modelId: toId }
  return { promotionId, intentId: addIntent(door, { kind: 'serve', subject, askedBy: who }, nowUnixMs) }
}

function seat(door: Door, kind: ModelKind, ids: { readonly championId: number | null; readonly previousId: number | null }): void {
  door.run(`UPDATE model SET alias = NULL WHERE kind = ? AND alias IN ('champion', 'previous')`, [kind])
  if (ids.previousId !== null) door.run(`UPDATE model SET alias = 'previous' WHERE model_id = ?`, [ids.previousId])
  if (ids.championId !== null) door.run(`UPDATE model SET alias = 'champion' WHERE model_id = ?`, [ids.championId])
}

function note(door: Door, promotion: Omit<Promotion, 'promotionId'>): number {
  const { kind, action, modelId, fromModelId, who, why, atUnixMs, withPromotionId } = promotion
  const sql = `INSERT INTO promotion (kind, action, model_id, from_model_id, who, why, at_unix_ms, with_promotion_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
  return door.run(sql, [kind, action, modelId, fromModelId, who, why, atUnixMs, withPromotionId]).lastId
}

/** The router refused a change (a file that is missing or not what it says): what served before is the champion again, also of what was changed with it, and it is noted. */
export function undoPromotion(
  door: Door,
  promotionId: number,
  { why, nowUnixMs }: { readonly why: string; readonly nowUnixMs: number },
): void {
  const made = getPromotion(door, promotionId)
  const champion = made && withAlias(door, made.kind, 'champion')
  // Somebody has changed it again since: that one stands.
  if (made === undefined || (champion?.modelId ?? null) !== made.modelId) return
  const { kind, modelId, fromModelId } = made
  const before = fromModelId === null ? undefined : lastPromotion(door, { kind, modelId: fromModelId })
  seat(door, kind, { championId: fromModelId, previousId: before?.fromModelId ?? null })
  const text = `A ${kind} model was refused and the previous one serves on: ${why}`
  addNotice(door, { tone: 'bad', text, href: '/models' }, nowUnixMs)
  const refused = { kind, action: 'refused', modelId: fromModelId, fromModelId: modelId, withPromotionId: null } as const
  note(door, { ...refused, who: 'router', why, atUnixMs: nowUnixMs })
  const asked = { who: 'router', why: `went with what was refused: ${why}` }
  for (const id of [made.withPromotionId, madeWith(door, promotionId)]) takeBack(door, id, { asked, nowUnixMs })
}

/** The change of a policy that this one of the profiles was made with. */
function madeWith(door: Door, promotionId: number): number | undefined {
  return door.get<{ id: number }>('SELECT promotion_id AS id FROM promotion WHERE with_promotion_id = ?', [promotionId])?.id
}
