/** Pages of a furnished stage, by a name for them; what anybody signed in may open. */
export const PAGES: Readonly<Record<string, string>> = {
  overview: '/?window=24h',
  decisions: '/decisions?application=support-bot',
  fleet: '/fleet',
  models: '/models',
  model: '/models/3',
  'model-length': '/models/1',
  training: '/training',
  'training-run': '/training/1',
  'training-failed': '/training/2',
  lab: '/lab',
  'lab-run': '/lab/1',
  'lab-failed': '/lab/2',
  'lab-compare': '/lab/compare?a=1&b=1',
}

/** Pages where operators ask for something. */
export const ACTIONS: Readonly<Record<string, string>> = {
  switch: '/switch?to=off',
  'instance-add': '/fleet/add?pool=llama-8b-chat',
  'instance-edit': '/fleet/edit?pool=llama-8b-chat&instance=a100-0',
  'model-promote': '/models/3/promote',
  'model-roll-back': '/models/roll-back?kind=policy',
  'model-try': '/models/3/try',
}
