import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { systemClock } from '../../../plugin/clock.ts'
import { defaultVirtualFleet, startVirtualFleet, VIRTUAL_MODEL } from '../../../plugin/simulation/virtual-fleet.ts'
import { freePorts, makeFolder, runPhasewise } from '../processes.ts'
import { envoyBinary, startEnvoy } from './envoy.ts'

/** `npm run demo:envoy`: real Envoy, Phasewise as its endpoint picker, and a virtual fleet behind, until Ctrl-C. */
console.log('Envoy: installing into .venv where it is not there yet')
envoyBinary()
const fleet = await startVirtualFleet({ specs: defaultVirtualFleet, clock: systemClock })
const folder = makeFolder()
const instances = fleet.instances.map(({ name, url }) => ({ name, url, speed: name.startsWith('a100') ? 3.4 : 1 }))
writeFileSync(
  join(folder, 'phasewise.yaml'),
  stringify({ dataDir: join(folder, '.phasewise'), pools: [{ name: VIRTUAL_MODEL, engine: 'virtual', instances }] }),
)

const phasewise = runPhasewise(['start'], { cwd: folder })
const [, address = ''] = await phasewise.printed(/picker +127\.0\.0\.1:(\d+)/)
await phasewise.printed(/first calls:/)
const [listenPort = 0, adminPort = 0] = await freePorts(2)
const unplaced = fleet.instances.map(({ url }) => new URL(url).host)
const envoy = await startEnvoy({ pickerPort: Number(address), listenPort, adminPort, unplaced })

console.log(phasewise.text().trim())
console.log(`
Envoy is in front: ${envoy.url} (its own admin page: http://127.0.0.1:${adminPort})
  try      curl ${envoy.url}/v1/chat/completions -H 'content-type: application/json' -d '{"model":"${VIRTUAL_MODEL}","stream":true,"messages":[{"role":"user","content":"Translate to German: good morning"}]}'
  check    npm run phasewise -- doctor --config ${join(folder, 'phasewise.yaml')} --envoy http://127.0.0.1:${adminPort}
  end      Ctrl-C`)

await new Promise<void>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
})
await envoy.stop()
phasewise.kill('SIGTERM')
await phasewise.exited
await fleet.close()
