import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Agent, fetch } from 'undici'
import { parse } from 'yaml'
import type { Config, ConfigParts } from './config.ts'
import { Unusable } from './main-child.ts'
import { configOf, readInput } from './main-config.ts'
import { storedPlacers } from './main-doctor-placements.ts'
import { embeddedConfig } from './main-embedded.ts'

/** How a gateway of one's own is told of Phasewise: printed, never done, since the gateway's files are its operator's. */

const GATEWAYS = ['litellm'] as const
type Gateway = (typeof GATEWAYS)[number]

/** Beside the sources, and beside the compiled files of a published package. */
const HOOK_PLACES = ['./gateways/litellm/phasewise_litellm.py', '../../plugin/gateways/litellm/phasewise_litellm.py']
const HEALTH_MS = 2_000

/** `phasewise attach GATEWAY`: prints the lines that make the gateway ask this Phasewise. Throws Unusable where none would work. */
export async function runAttach(gateway: string, options: { readonly config: string }): Promise<number> {
  known(gateway)
  const input = readInput(options.config)
  const config = configOf(input ?? embeddedConfig([]))
  const certificate = certificateOf(config)
  const url = addressOf(config, certificate)
  const key = keyLine(config, input)
  const answers = await isAnswering(url, certificate)
  const lines = [
    '# 1. In the folder of LiteLLM’s config.yaml:',
    `cp ${quoted(hookPath())} .`,
    '',
    '# 2. In config.yaml (where callbacks are set already, add this one to them):',
    'litellm_settings:',
    '  callbacks: phasewise_litellm.handler',
    '',
    '# 3. In LiteLLM’s environment:',
    `export PHASEWISE_URL=${quoted(url)}`,
    ...(key === undefined ? [] : [key]),
    ...(certificate === undefined ? [] : [authorityLine(certificate, config)]),
    '',
    '# 4. Restart LiteLLM, for example:',
    'litellm --config config.yaml',
  ]
  console.log(lines.join('\n'))
  if (!answers) console.error(`\nNothing answers at ${url} now: start Phasewise (npm start) before LiteLLM is to ask it.`)
  return 0
}

/** `phasewise detach GATEWAY`: prints the lines that undo what `attach` printed. */
export function runDetach(gateway: string): number {
  known(gateway)
  const lines = [
    '# 1. In config.yaml, take phasewise_litellm.handler out of litellm_settings.callbacks.',
    '',
    '# 2. In LiteLLM’s environment:',
    'unset PHASEWISE_URL PHASEWISE_KEY PHASEWISE_CA_FILE',
    '',
    '# 3. Restart LiteLLM, then, in the folder of its config.yaml:',
    'rm phasewise_litellm.py',
  ]
  console.log(lines.join('\n'))
  return 0
}

function known(gateway: string): asserts gateway is Gateway {
  if (!(GATEWAYS as readonly string[]).includes(gateway))
    throw new Unusable(
      `${gateway} is no gateway that attaches by a file; there is ${GATEWAYS.join(', ')}. For others see the README, "Attach"`,
    )
}

function hookPath(): string {
  const paths = HOOK_PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)))
  const found = paths.find(existsSync)
  if (found === undefined) throw new Unusable(`phasewise_litellm.py is not at ${paths.join(' nor ')}; install Phasewise again`)
  return found
}

/** What the placement API shows to its callers, where they come by TLS. Throws Unusable where it cannot be read. */
function certificateOf({ gateways: { placements } }: Config): X509Certificate | undefined {
  const { listen, tls } = placements
  if (!listen || tls === undefined) return undefined
  try {
    return new X509Certificate(readFileSync(tls.certFile))
  } catch (error) {
    throw new Unusable(`gateways.placements.tls.certFile: ${tls.certFile} is no readable certificate (PEM): ${(error as Error).message}`)
  }
}

/** One that signed itself is its own authority; who signed another one is for the operator to say. */
function authorityLine(certificate: X509Certificate, { gateways }: Config): string {
  const { certFile = '' } = gateways.placements.tls ?? {}
  if (certificate.checkIssued(certificate)) return `export PHASEWISE_CA_FILE=${quoted(certFile)}`
  return '# export PHASEWISE_CA_FILE=…   # PEM of the certificate’s authority, where the system does not know it'
}

function addressOf({ gateways: { placements } }: Config, certificate: X509Certificate | undefined): string {
  const { listen, socket } = placements
  if (!listen && socket !== undefined) return `unix:${socket}`
  if (!listen)
    throw new Unusable('gateways.placements.listen is off: set an address, e.g. gateways: {placements: {listen: "127.0.0.1:8403"}}')
  const isEverywhere = listen.host === '0.0.0.0' || listen.host === '::'
  const host = isEverywhere ? '127.0.0.1' : listen.host.includes(':') ? `[${listen.host}]` : listen.host
  return certificate === undefined ? `http://${host}:${listen.port}` : `https://${nameIn(certificate, host)}:${listen.port}`
}

/** The host as the certificate calls it, since callers compare. */
function nameIn(certificate: X509Certificate, host: string): string {
  if (certificate.checkIP(host.replace(/[[\]]/g, '')) !== undefined || certificate.checkHost(host) !== undefined) return host
  return /DNS:([^,*\s]+)/.exec(certificate.subjectAltName ?? '')?.[1] ?? host
}

/** The line that hands over a key with the scope "place", by the same environment variable or file that the configuration names. */
function keyLine(config: Config, input: ConfigParts['input'] | undefined): string | undefined {
  const { placements } = config.gateways
  const index = placements.keys.findIndex((one) => one.scopes.includes('place'))
  if (index >= 0 && input && 'text' in input) {
    const secret = parse(input.text)?.gateways?.placements?.keys?.[index]?.key as { env?: string; file?: string }
    if (secret.env !== undefined) return `export PHASEWISE_KEY="$${secret.env}"`
    return `export PHASEWISE_KEY="$(cat ${quoted(resolve(dirname(input.path), secret.file ?? ''))})"`
  }
  if (placements.loopbackWithoutKey) return undefined
  const [stored] = storedPlacers(config)
  // Only its hash is kept: the admin showed the key itself once, when it was made.
  if (stored !== undefined) return `export PHASEWISE_KEY=…   # the key “${stored}” that was made in the admin`
  throw new Unusable(
    'gateways.placements.keys: none may place, so LiteLLM would be refused; make one with the scope place in the admin, add one here, e.g. keys: [{name: litellm, key: {env: PHASEWISE_KEY}}], or set loopbackWithoutKey: true',
  )
}

async function isAnswering(url: string, certificate: X509Certificate | undefined): Promise<boolean> {
  if (url.startsWith('unix:')) return existsSync(url.slice('unix:'.length))
  // Whom to trust is LiteLLM's question; here only whether somebody is there.
  const dispatcher = new Agent(certificate === undefined ? {} : { connect: { rejectUnauthorized: false } })
  try {
    await fetch(`${url}/v1/health`, { signal: AbortSignal.timeout(HEALTH_MS), dispatcher })
    return true
  } catch {
    // Not there, or not to be reached from here: said to the user.
    return false
  } finally {
    await dispatcher.destroy()
  }
}

/** As one word of a shell. */
function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
