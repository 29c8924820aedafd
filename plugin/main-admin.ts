import { issueSignInLink } from '../admin/access/link.ts'
import { createRouterLine } from '../admin/router-line.ts'
import { runAdmin } from '../admin/serve.ts'
import { systemClock } from './clock.ts'
import { HOLD_ORDERS } from './hold/hold-rules.ts'
import { basePolicy } from './learning/serving-models.ts'
import type { LabRuns } from './log/control/lab.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { listenProblem, type Running, runChild, type StartMessage } from './main-child.ts'
import { configParts } from './main-config.ts'
import { createLabStarter } from './main-lab-starter.ts'
import { settle } from './main-settings.ts'
import { VERSION } from './main-version.ts'
import { ModelRefused } from './placement/learned-model.ts'
import { POLICY_NAMES } from './placement/policies.ts'
import { SCENARIO_NAMES } from './simulation/scenario/names.ts'

/** The admin process: its own port, its own event loop; ending it changes nothing for callers. */
export function runAdminRole(): void {
  runChild(startAdmin)
}

async function startAdmin({ input, line }: StartMessage): Promise<Running> {
  const { config } = settle(input)
  const { listen } = config.admin
  if (!listen) return { facts: {}, drain: async () => undefined }
  const logPath = databasePath(config.dataDir, 'log')
  const controlPath = databasePath(config.dataDir, 'control')
  try {
    const admin = await runAdmin({
      listen,
      config: config.admin,
      configuration: configParts(input),
      logPath,
      controlPath,
      clock: systemClock,
      facts: { version: VERSION, retentionDays: config.log.retentionDays },
      line: createRouterLine(line.port === 0 ? undefined : { url: `http://127.0.0.1:${line.port}`, key: line.key }),
      night: () => settle(input).config.night,
      openLab: (labRuns) => openLab(config.dataDir, labRuns),
      write: (line) => console.error(`phasewise: ${line}`),
    })
    const signIn = freshLink(controlPath)
    return { facts: { url: admin.url, ...(signIn ? { signIn } : {}) }, drain: () => admin.close() }
  } catch (error) {
    throw listenProblem((error as Error).cause ?? error, 'admin.listen', `${listen.host}:${listen.port}`)
  }
}

function freshLink(path: string): string | undefined {
  const control = openControl({ path, clock: systemClock })
  try {
    return issueSignInLink(control, systemClock)
  } finally {
    control.close()
  }
}

function openLab(dataDir: string, labRuns: LabRuns) {
  const starter = createLabStarter({ dataDir, labRuns })
  starter.nudge()
  const shipped = shippedPolicy()
  return {
    scenarios: SCENARIO_NAMES,
    policies: POLICY_NAMES,
    holds: [...HOLD_ORDERS, 'off'],
    ...(shipped === undefined ? {} : { shipped }),
    ...starter,
  }
}

/** Version of the learned policy that ships; undefined where it cannot be read: the router says why. */
function shippedPolicy(): string | undefined {
  try {
    return basePolicy().version
  } catch (error) {
    if (error instanceof ModelRefused) return undefined
    throw error
  }
}
