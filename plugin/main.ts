#!/usr/bin/env node
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Role } from './main-child.ts'
import { VERSION } from './main-version.ts'

/** The command line, and the only file that knows every part. Parts are imported when their command runs, so that each process holds only its own. */
const program = new Command('phasewise')
  .description('Workload-aware placement for LLM gateways: decides which instance serves each call, measures it, learns from it.')
  .version(VERSION)
  .showHelpAfterError('(--help after the command shows what it takes)')

const number =
  (least: number) =>
  (text: string): number => {
    const value = Number(text)
    if (!(value >= least)) throw new InvalidArgumentError(`needs a number, ${least} or more.`)
    return value
  }

program
  .command('start', { isDefault: true })
  .description('run router and admin; without a phasewise.yaml also a virtual fleet with demo traffic')
  .option('-c, --config <file>', 'configuration', 'phasewise.yaml')
  .option('--no-demo', 'no demo traffic on the virtual fleet')
  .option('--time-factor <factor>', 'virtual fleet: this many times faster than real', number(0.01), 1)
  .action(async (options: { config: string; demo: boolean; timeFactor: number }) => {
    const { runStart } = await import('./main-start.ts')
    await runStart(options)
  })

program
  .command('doctor')
  .description('check configuration, ports, instances, metrics and database; exit code 1 when something would not work')
  .option('-c, --config <file>', 'configuration', 'phasewise.yaml')
  .option('--envoy <file or address>', "also check the Envoy in front: its configuration file, or its admin page's address")
  .option('--json', 'for machines')
  .action(async (options: { config: string; json?: true; envoy?: string }) => {
    const { runDoctor } = await import('./main-doctor.ts')
    process.exitCode = await runDoctor(options)
  })

program
  .command('password-link <name>')
  .description('print a one-time link by which this user sets a new password')
  .option('-c, --config <file>', 'configuration', 'phasewise.yaml')
  .action(async (name: string, options: { config: string }) => {
    const { runPasswordLink } = await import('./main-password-link.ts')
    process.exitCode = runPasswordLink(name, options)
  })

program
  .command('attach <gateway>')
  .description('print the lines that make a gateway ask this Phasewise: litellm')
  .option('-c, --config <file>', 'configuration', 'phasewise.yaml')
  .action(async (gateway: string, options: { config: string }) => {
    const { runAttach } = await import('./main-attach.ts')
    process.exitCode = await runAttach(gateway, options)
  })

program
  .command('detach <gateway>')
  .description('print the lines that undo `attach`')
  .action(async (gateway: string) => {
    const { runDetach } = await import('./main-attach.ts')
    process.exitCode = runDetach(gateway)
  })

program
  .command('replay')
  .description(
    "send a trace's calls to a URL at the trace's own times; or, with --twin, tell what stored calls would have cost under other policies",
  )
  .option('--trace <file>', 'Azure CSV, Mooncake JSONL or our own JSONL')
  .option('--url <url>', 'an OpenAI-compatible base address, e.g. http://127.0.0.1:8400/v1')
  .option('--speed <factor>', "times the trace's own pace", number(0.001), 1)
  .option('--calls <n>', 'at most this many calls', number(1))
  .option('--seconds <s>', 'only calls of the first seconds of the trace', number(0.001))
  .option('--model <name>', 'model to ask for; the first of /v1/models by default')
  .option('--twin', 'play stored calls in the twin; sends nothing')
  .option('--db <file>', 'twin: the log, log.sqlite in the data directory')
  .option('--from <time>', "twin: calls from here on, ISO 8601 or Unix ms; the log's first by default")
  .option('--to <time>', "twin: calls before; the log's last by default")
  .option('--policies <list>', 'twin: policies, comma separated; "least-kv + kv-time" holds')
  .option('--profile <name...>', 'twin: shipped profile of all instances, or INSTANCE=PROFILE; found by trial by default')
  .option('--json', 'for machines')
  .action(async (options, command: Command) => {
    const lacking = (options.twin ? ['db'] : ['trace', 'url']).filter((name) => options[name] === undefined)
    if (lacking.length > 0)
      command.error(`error: replay${options.twin ? ' --twin' : ''} needs ${lacking.map((name) => `--${name}`).join(' and ')}`)
    if (options.twin) {
      const { runTwinReplay } = await import('./main-replay-twin.ts')
      process.exitCode = runTwinReplay(options)
      return
    }
    const { runReplay } = await import('./main-replay.ts')
    process.exitCode = await runReplay(options)
  })

program
  .command('virtual-instance')
  .description('run one virtual instance: a simulated engine behind an OpenAI server')
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option('--port <port>', 'port; 0 is any', number(0), 0)
  .option('--profile <name>', 'engine profile', 'a100-llama-2-7b')
  .option('--model <name>', 'model name it serves', 'llama-2-7b')
  .option('--time-factor <factor>', 'this many times faster than real', number(0.01), 1)
  .action(async (options) => {
    const { runSingleInstance } = await import('./main-virtual.ts')
    await runSingleInstance(options)
  })

program.enablePositionalOptions()
const train = program
  .command('train')
  .enablePositionalOptions()
  .description(
    'a night now: read stored calls, calibrate, train, judge, register challengers; or, with a word behind it, train one shipped model',
  )
  .option('-c, --config <file>', 'configuration', 'phasewise.yaml')
  .option('--from <time>', "stored calls from here on, ISO 8601 or Unix ms; the configuration's days back by default")
  .option('--to <time>', 'stored calls before; now by default')
  .addOption(new Option('--only <part>', 'one part alone').choices(['length', 'profiles', 'policy']))
  .option('--generations <n>', 'how long the policy is searched', number(1))
  .option('--minutes <m>', 'or so long, recorded as the generations it came to', number(0.01))
  .option('--seed <seed>', 'seed of all chance', number(0))
  .option('--application <name>', "only this application's answers train the length predictor")
  .action(async (options) => {
    const { runTrain } = await import('./main-train.ts')
    process.exitCode = await runTrain(options)
  })
train
  .command('length')
  .description('the output length predictor, from open sets or JSONL rows {"messages" or "prompt", "outputTokens", "censored"?, …}')
  .requiredOption('--data <path...>', 'folders that hold the open sets, or JSONL files')
  .option('--out <folder>', 'where the model goes', '.phasewise/models/length')
  .option('--seed <seed>', 'seed of all chance', number(0), 1)
  .option('--folds <n>', 'folds of the cross-validation on the card', number(2), 5)
  .action(async (options) => {
    const { runTrainLength } = await import('./main-length.ts')
    await runTrainLength(options)
  })
train
  .command('policy')
  .description('the placement policy, in the twin, over fleets and traffic of every kind')
  .option('--out <folder>', 'where the model goes', '.phasewise/models/policy')
  .option('--seed <seed>', 'seed of all chance', number(0), 1)
  .option('--generations <n>', 'how long it is searched', number(0))
  .option('--population <n>', 'candidates per generation, even', number(2))
  .option('--tasks <n>', 'runs of the twin that each candidate is judged on', number(1))
  .option('--workers <n>', 'threads; the result is the same', number(0), 2)
  .option('--data <folder>', 'recorded traces to train on as well')
  .option('--from <folder>', 'a model to start from; the heuristic otherwise')
  .addOption(new Option('--objective <kind>', 'mean latency, or the share of calls in time').choices(['latency', 'slo']).default('latency'))
  .action(async (options) => {
    const { runTrainPolicy } = await import('./main-policy.ts')
    await runTrainPolicy(options)
  })

program
  .command('evaluate')
  .description('judge a model on rows of your own')
  .command('length')
  .description('predict rows in order, history learning after each, and print every measure with its interval')
  .requiredOption('--data <file>', 'JSONL rows')
  .option('--model <folder>', 'model to judge', fileURLToPath(new URL('../models/length-base', import.meta.url)))
  .option('--warm <n>', 'history learns from the first n answers only; 0 switches it off', number(0))
  .option('--delay <n>', 'an answer is learned this many calls after its prediction', number(0), 0)
  .option('--json', 'for machines')
  .action(async (options) => {
    const { runEvaluateLength } = await import('./main-length.ts')
    runEvaluateLength(options)
  })

const models = program.command('models').description('trained models: what there is, what serves, what is tried')
const modelsCommand = (text: string, description: string): Command =>
  models.command(text).description(description).option('-c, --config <file>', 'configuration', 'phasewise.yaml')
const readingCommand = (text: string, description: string): Command => modelsCommand(text, description).option('--json', 'for machines')
const changingCommand = (text: string, description: string): Command =>
  modelsCommand(text, description).option('--why <text>', 'noted in history and audit')

readingCommand('list [kind]', 'every version, newest first; of one kind: length, policy or profile').action(
  async (kind: string | undefined, options) => {
    await (await import('./main-models.ts')).listModels(kind, options)
  },
)
readingCommand('show <version>', 'verdict, data, history and files of one').action(async (version: string, options) => {
  await (await import('./main-models.ts')).showModel(version, options)
})
changingCommand('promote <version>', 'it serves from now on')
  .option('--force', 'although its verdict says no')
  .action(async (version: string, options) => {
    process.exitCode = await (await import('./main-models.ts')).promoteModel(version, options)
  })
changingCommand('rollback <kind>', 'what served before serves again: length, policy or profile').action(async (kind: string, options) => {
  process.exitCode = await (await import('./main-models.ts')).rollBackModel(kind, options)
})
changingCommand('shadow [version...]', 'versions score every call and nothing is obeyed; "status", "end"')
  .option('--json', 'status for machines')
  .action(async (words: string[], options) => {
    process.exitCode = await (await import('./main-models.ts')).tryModels('shadow', words, options)
  })
changingCommand('canary [version...]', 'versions serve a share of time blocks; "status", "end"')
  .option('--json', 'status for machines')
  .option('--share <ratio>', 'of the blocks, at most 0.5', number(0.01))
  .option('--block-ms <ms>', "length of a block; by the calls' length by default", number(1))
  .option('--washout-ms <ms>', 'of each block, counted for neither arm', number(0))
  .option('--blocks <n>', 'it ends after so many', number(1))
  .action(async (words: string[], options) => {
    process.exitCode = await (await import('./main-models.ts')).tryModels('canary', words, options)
  })

program
  .command('lab-run', { hidden: true })
  .requiredOption('--data-dir <folder>')
  .requiredOption('--run <id>', 'id of the run', number(1))
  .action(async ({ dataDir, run }: { dataDir: string; run: number }) => {
    const { runLab } = await import('./main-lab.ts')
    process.exitCode = await runLab({ dataDir, runId: run })
  })

program.command('role <role>', { hidden: true }).action(async (role: Role) => {
  const roles: Readonly<Record<Role, () => Promise<void>>> = {
    router: async () => (await import('./main-router.ts')).runRouterRole(),
    admin: async () => (await import('./main-admin.ts')).runAdminRole(),
    fleet: async () => (await import('./main-virtual.ts')).runFleetRole(),
    demo: async () => (await import('./main-virtual.ts')).runDemoRole(),
    trainer: async () => (await import('./main-trainer.ts')).runTrainerRole(),
  }
  await roles[role]()
})

try {
  await program.parseAsync()
} catch (error) {
  console.error(
    error instanceof Error &&
      [
        'ConfigError',
        'Unusable',
        'DirectoryHeld',
        'MigrationRefused',
        'TraceError',
        'RowError',
        'ModelRefused',
        'ModelUnfit',
        'TrainerHeld',
        'RegistryRefused',
      ].includes(error.name)
      ? error.message
      : error,
  )
  process.exitCode = 1
}
