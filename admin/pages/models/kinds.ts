import type { ModelKind } from '../../../plugin/log/control/models.ts'

/** The kinds with what serves where no trained version does. */
export const KINDS: readonly { readonly kind: ModelKind; readonly name: string; readonly ships: string; readonly does: string }[] = [
  { kind: 'length', name: 'Length', ships: 'the shipped base model', does: 'predicts how many tokens an answer will have' },
  {
    kind: 'policy',
    name: 'Policy',
    ships: 'the rule that the configuration names',
    does: 'decides where a call goes and whether it is held',
  },
  {
    kind: 'profile',
    name: 'Profile',
    ships: 'the shipped profiles',
    does: 'says how fast each instance is, for the twin and for policies that roll forward',
  },
]

/** What serves where no trained version of the kind does. */
export const shipsOf = (kind: ModelKind): string => KINDS.find((one) => one.kind === kind)?.ships ?? 'what ships'
