// Installs what package-lock.json names, once per lock file, so that `npm start` and `npm test` work as the first command
// after cloning. `npm install`, not `npm ci`: the latter refuses a lock file that lacks another platform's optional binaries.
// Runs on whatever Node (>= 20) the machine has, before the pinned Node 24 exists: plain JavaScript, no imports of ours.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

const lockHash = () => createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
const stamp = 'node_modules/.phasewise-lock'
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lockHash()) {
  console.log('phasewise: installing dependencies (once)')
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  // onnxruntime-node ships its CPU library; its install script would fetch CUDA files. npm 11 obeys `allowScripts`, older ones this.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' }
  const done = spawnSync(npm, ['install', '--loglevel=error'], { stdio: 'inherit', env, shell: process.platform === 'win32' })
  if (done.status !== 0) {
    console.error('phasewise: `npm install` failed; its message is above. Remedy: check the registry or proxy, then run the command again.')
    process.exit(done.status ?? 1)
  }
  // After the install, which may have rewritten the lock file.
  writeFileSync(stamp, lockHash())
}
