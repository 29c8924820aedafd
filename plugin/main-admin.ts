import { issueSignInLink } from '../admin/access/link.ts'
import { serveAdmin } from '../admin/serve.ts'
import { systemClock } from './clock.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { listenProblem, type Running, runChild, type StartMessage } from './main-child.ts'
import { configOf } from './main-config.ts'

/** The admin process: its own port, its own event loop; ending it changes nothing for callers. */
export function runAdminRole(): void {
  runChild(startAdmin)
}

async function startAdmin({ input }: StartMessage): Promise<Running> {
  const config = configOf(input)
  const { listen } = config.admin
  if (!listen) return { facts: {}, drain: async () => undefined }
  const reader = openReader(databasePath(config.dataDir, 'log'))
  const control = openControl({ path: databasePath(config.dataDir, 'control'), clock: systemClock })
  try {
    const server = await serveAdmin({
      listen,
      reader,
      control,
      clock: systemClock,
      dataDir: config.dataDir,
      retentionDays: config.log.retentionDays,
    })
    const signIn = issueSignInLink(control, systemClock)
    return {
      facts: { url: server.url, ...(signIn ? { signIn } : {}) },
      async drain() {
        await server.close()
        reader.close()
        control.close()
      },
    }
  } catch (error) {
    throw listenProblem(error, 'admin.listen', `${listen.host}:${listen.port}`)
  }
}
