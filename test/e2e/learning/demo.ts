import { change, percent, runLoop, seconds } from './loop.ts'
import { startLearningSite, TIME_FACTOR } from './site.ts'

/** `npm run demo:learning`: the whole loop over a virtual fleet in under twelve minutes, then the admin to look at until Ctrl-C. */
const PLAN = { load: 0.5, daySeconds: 100, generations: 12, blockMs: 8_000, washoutMs: 2_500, blocks: 24 }
/** Steps of the engines take 6 to 10 ms at this time factor: figures of a machine that wakes them this late are its own more than the policy's. */
const LATE_MS = 25

console.log(`A virtual fleet of three unequal instances, ${TIME_FACTOR} times faster than real, and traffic that nothing was trained on.`)
const site = await startLearningSite()
const result = await runLoop(site, PLAN, (line) => console.log(line))
const { canary, latenessMs } = result
const [promised, promisedLow, promisedHigh] = result.promised
console.log(`
Mean E2E under the new policy, lower than under least-request by
promised by the twin   ${percent(promised)}, 95 % interval ${percent(promisedLow)} to ${percent(promisedHigh)}
measured by the canary ${percent(canary.gain)}, 95 % interval ${percent(canary.low)} to ${percent(canary.high)} (${canary.state}: ${canary.why})
day after day          ${seconds(result.before.meanE2eMs)} under least-request, ${seconds(result.after.meanE2eMs)} ${result.promoted ? `under ${result.policy.version}: ${change(result.dayGain)}` : 'under least-request again: nothing was promoted'}
calls that failed      ${result.before.failed + result.after.failed} of ${result.before.sent + result.after.sent}
the machine            woke engines and callers up to ${latenessMs.toFixed(0)} ms late in 99 of 100 cases${latenessMs > LATE_MS ? ': it is busy with other things, and the figures above are as much its as the policy’s' : ''}

Look at   ${site.signIn}   (opens once: choose a name and a password; then Overview, Models, Training, Decisions)
models    npm run phasewise -- models list --config ${site.folder}/phasewise.yaml
end       Ctrl-C`)
if (process.argv.includes('--once')) await site.close()
else
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  }).then(() => site.close())
