// Puts a Python tool that tests and benchmarks need into a folder of the project, once per requirements file: `node .dev/venv.mjs litellm` makes
// `.venv-litellm/` from `.dev/requirements-litellm.txt`. Phasewise itself needs no Python. Prints the folder's path as its last line.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const name = process.argv[2] ?? ''
const requirements = fileURLToPath(new URL(`requirements-${name}.txt`, import.meta.url))
if (!/^[a-z]+$/.test(name) || !existsSync(requirements)) {
  console.error(`phasewise: there is no .dev/requirements-${name}.txt; say which tool, e.g. node .dev/venv.mjs litellm`)
  process.exit(1)
}
const folder = fileURLToPath(new URL(`../.venv-${name}`, import.meta.url))
const stamp = `${folder}/.requirements`
const wanted = readFileSync(requirements, 'utf8')

function must(what, remedy, command, args) {
  const done = spawnSync(command, args, { encoding: 'utf8' })
  if (done.status === 0) return
  console.error(
    `phasewise: ${what} failed: ${`${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}`.trim()}\nRemedy: ${remedy}`,
  )
  process.exit(1)
}

if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
  console.log(`phasewise: installing ${name} into .venv-${name}/ (once)`)
  const venvHint = 'install Python 3.9 or later with venv (Debian: apt-get install python3-venv), then run the command again'
  if (!existsSync(`${folder}/bin/python`)) must('python3 -m venv', venvHint, 'python3', ['-m', 'venv', folder])
  const pipHint = 'check the package index or proxy that pip uses, then run the command again'
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]
  must(`installing ${name}`, pipHint, `${folder}/bin/python`, install)
  // After the install: a half one is done again.
  writeFileSync(stamp, wanted)
}
console.log(folder)
