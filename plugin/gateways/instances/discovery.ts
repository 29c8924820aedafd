import type { DesiredInstance } from './connections.ts'
import { type DnsNameParts, watchDnsName } from './dns-names.ts'
import { type WatchedFileParts, watchFile } from './watched-file.ts'

/** What every source of instances is given. */
export interface SourceParts {
  readonly onInstances: (instances: readonly DesiredInstance[]) => void
  /** Something is wrong with the source, in words with the remedy; what was known before stays. */
  readonly onProblem: (problem: string) => void
}

/** Something that names instances until it is closed. */
export interface Source {
  /** Resolves after the first look, well or ill. */
  readonly first: Promise<void>
  close(): void
}

export interface DiscoveryParts {
  /** Listed in the configuration itself. */
  readonly fixed: readonly DesiredInstance[]
  readonly file?: Omit<WatchedFileParts, keyof SourceParts>
  readonly dns?: Omit<DnsNameParts, keyof SourceParts>
  /** The pool's instances: all sources together. Called at once with those listed, and whenever that changes. */
  readonly onInstances: (instances: readonly DesiredInstance[]) => void
  readonly onProblem: (problem: string) => void
}

export interface Discovery {
  /** Resolves when every source was looked at once, well or ill. */
  readonly ready: Promise<void>
  /** Looks that failed so far: lost names, unreadable files. */
  problems(): number
  close(): void
}

/** One pool's instances out of the configuration, a watched file and a name, together; the first to use a name keeps it. */
export function createDiscovery(parts: DiscoveryParts): Discovery {
  const lists = new Map<string, readonly DesiredInstance[]>([['configuration', parts.fixed]])
  const doubles = new Set<string>()
  let problems = 0
  const onProblem = (problem: string): void => {
    problems++
    parts.onProblem(problem)
  }
  const publish = (): void => {
    const byName = new Map<string, DesiredInstance>()
    for (const [source, list] of lists)
      for (const instance of list) {
        const same = byName.get(instance.name)
        if (!same) byName.set(instance.name, instance)
        else if (same.url !== instance.url && !doubles.has(instance.url)) {
          doubles.add(instance.url)
          onProblem(`instance name "${instance.name}" (${source}: ${instance.url}) is taken by ${same.url}; give each its own name`)
        }
      }
    parts.onInstances([...byName.values()])
  }
  const from = (source: string): SourceParts => ({
    onProblem,
    onInstances(list) {
      lists.set(source, list)
      publish()
    },
  })
  publish()
  const sources: Source[] = []
  if (parts.file) sources.push(watchFile({ ...parts.file, ...from('file') }))
  if (parts.dns) sources.push(watchDnsName({ ...parts.dns, ...from('dns') }))
  return {
    ready: Promise.all(sources.map((source) => source.first)).then(() => undefined),
    problems: () => problems,
    close: () => {
      for (const source of sources) source.close()
    },
  }
}
