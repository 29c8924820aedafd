import { existsSync } from 'node:fs'
import { issuePasswordLink } from '../admin/access/link.ts'
import { systemClock } from './clock.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { configOf, readInput } from './main-config.ts'
import { embeddedConfig } from './main-embedded.ts'

/** `phasewise password-link NAME`: for whoever has the machine and no password any more. Gives the exit code. */
export function runPasswordLink(name: string, options: { readonly config: string }): number {
  const config = configOf(readInput(options.config) ?? embeddedConfig([]))
  const path = databasePath(config.dataDir, 'control')
  if (!existsSync(path)) {
    console.error(`there is no ${path} yet: start Phasewise first, or name its configuration by --config`)
    return 1
  }
  const control = openControl({ path, clock: systemClock })
  try {
    const user = control.users.byName(name)
    if (user === undefined) {
      const names = control.users.list().map((one) => one.name)
      console.error(`there is no user ${name}; ${names.length === 0 ? 'there are none yet' : `there are ${names.join(', ')}`}`)
      return 1
    }
    const link = control.together(() => {
      control.audit.append({ who: 'console', address: 'this machine', action: 'make password link', subject: user.name })
      return issuePasswordLink({ control, clock: systemClock, userId: user.userId })
    })
    const { listen, publicUrl } = config.admin
    const base = publicUrl ?? (listen ? `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}` : '')
    console.log(`${base}${link}\nIt works once, for three days.`)
    return 0
  } finally {
    control.close()
  }
}
