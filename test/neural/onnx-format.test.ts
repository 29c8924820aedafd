import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { adamW } from '../../plugin/neural/adamw.ts'
import { Graph } from '../../plugin/neural/graph.ts'
import { add } from '../../plugin/neural/operators.ts'
import { MessageWriter } from '../../plugin/neural/protobuf.ts'
import { MODELS, OPERATORS } from './subjects.ts'

const ONNX_VERSION = '1.23.0'
/** Beside node_modules, made once: Python's own reference checker of the format. */
const venv = new URL('../../.venv/onnx', import.meta.url).pathname
const python = join(venv, 'bin/python')

const CHECK = `
import sys, onnx
for path in sys.argv[1:]:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
print("checked", len(sys.argv) - 1)
`

beforeAll(() => {
  const run = (command: string, args: readonly string[]): void => {
    const done = spawnSync(command, args, { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr || done.error}`)
  }
  if (!existsSync(python)) run('python3', ['-m', 'venv', venv])
  const has = spawnSync(python, ['-c', `import onnx; assert onnx.__version__.startswith("${ONNX_VERSION.slice(0, 4)}")`])
  if (has.status !== 0) run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `onnx~=${ONNX_VERSION}`])
}, 180_000)

test('the reference checker of ONNX accepts every training graph and serving graph', () => {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-onnx-'))
  try {
    const files = Object.values({ ...OPERATORS, ...MODELS }).flatMap((scalar, i) => {
      const training = new Graph({ training: true })
      const loss = scalar(training)
      const gradient = training.gradients(loss, (a, b) => add(training, a, b))
      const outputs = [training.named(loss, 'loss'), ...adamW(training, gradient, { weightDecay: 0.1 })]
      const asked = new Graph()
      scalar(asked)
      const serving = new Graph({ parametersFrom: new Float32Array(asked.parameterCount) })
      const output = serving.named(scalar(serving), 'output')
      return [training.encode(outputs), serving.encode([output])].map((bytes, k) => {
        const file = join(folder, `${i}-${k}.onnx`)
        writeFileSync(file, bytes)
        return file
      })
    })
    const done = spawnSync(python, ['-c', CHECK, ...files], { encoding: 'utf8' })
    expect(done.stderr).toBe('')
    expect(done.stdout.trim()).toBe(`checked ${files.length}`)
  } finally {
    rmSync(folder, { recursive: true })
  }
}, 60_000)

test('numbers are written as protobuf has them', () => {
  // Field 1, varint 150 is the format's own example: 08 96 01; −1 takes ten bytes.
  expect(new MessageWriter().int(1, 150).finish().toString('hex')).toBe('089601')
  expect(new MessageWriter().int(1, -1).finish().toString('hex')).toBe(`08${'ff'.repeat(9)}01`)
  expect(new MessageWriter().text(2, 'testing').finish().toString('hex')).toBe('120774657374696e67')
  expect(new MessageWriter().ints(4, [3, 270, 86942]).finish().toString('hex')).toBe('2206038e029ea705')
})
