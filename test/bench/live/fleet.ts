import { systemClock } from '../../../plugin/clock.ts'
import { startVirtualFleet, type VirtualInstanceSpec } from '../../../plugin/simulation/virtual-fleet.ts'

/** A virtual fleet in a process of its own: `node fleet.ts SPECS-AS-JSON`, until it is told to end. */
const specs = JSON.parse(process.argv[2] ?? '[]') as VirtualInstanceSpec[]
const fleet = await startVirtualFleet({ specs, clock: systemClock })
console.log(`urls ${fleet.instances.map((one) => one.url).join(',')} end`)
process.on('SIGTERM', () => {
  void fleet.close().then(() => process.exit(0))
})
