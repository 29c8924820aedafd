import { hashPassword } from '../../../admin/access/password.ts'
import { createRouterLine } from '../../../admin/router-line.ts'
import { runAdmin } from '../../../admin/serve.ts'
import { createManualClock } from '../../../plugin/clock.ts'
import { openControl } from '../../../plugin/log/control.ts'
import { databasePath } from '../../../plugin/log/migrate.ts'
import { POLICY_NAMES } from '../../../plugin/placement/policies.ts'

/** The admin in a process of its own, so that its memory can be seen from outside. */
const [dataDir = '', nowUnixMs = '', password = ''] = process.argv.slice(2)
/** Stands where the log ends, whenever it was made. */
const clock = createManualClock(Number(nowUnixMs))
const controlPath = databasePath(dataDir, 'control')
const control = openControl({ path: controlPath, clock })
if (control.users.byName('bench') === undefined) control.users.add({ name: 'bench', role: 'admin', password: await hashPassword(password) })
control.close()
const admin = await runAdmin({
  listen: { host: '127.0.0.1', port: 0 },
  config: { trustedProxies: 0, settings: 'database' },
  configuration: {
    input: {
      path: 'bench.yaml',
      value: { pools: [{ name: 'llama-8b-chat', instances: [{ name: 'a100-0', url: 'http://10.2.0.11:8000' }] }] },
    },
    env: {},
    policyNames: POLICY_NAMES,
  },
  logPath: databasePath(dataDir, 'log'),
  controlPath,
  clock,
  facts: { version: 'bench', retentionDays: 30 },
  line: createRouterLine(undefined),
  write: (line) => console.error(line),
})
console.log(`admin at ${admin.url}`)
