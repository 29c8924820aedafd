/** Why a run failed, for somebody who did not write it: what is full, locked or lacking, and what to do. The error's own words follow where they help. */
export function failureWords(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error)
  const code = codeOf(error)
  if (isDiskFull(error)) return `the disk is full: make room in the data directory, then run again (${words})`
  if (code?.startsWith('SQLITE_BUSY') || code?.startsWith('SQLITE_LOCKED'))
    return `a database is locked by another process: end what holds it, then run again (${words})`
  if (code?.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') return `a database is damaged: ${words}`
  if (code === 'SQLITE_CANTOPEN') return `log.sqlite cannot be opened: is dataDir right, and was Phasewise started there once? (${words})`
  if (code === 'EACCES' || code === 'EROFS' || code === 'SQLITE_READONLY') return `the data directory cannot be written: ${words}`
  return words
}

/** Nothing can be written any more, not even that a run failed. */
export function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'SQLITE_FULL', 'SQLITE_IOERR_WRITE', 'SQLITE_IOERR_SHMSIZE'].includes(codeOf(error) ?? '')
}

function codeOf(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if ('code' in at && typeof at.code === 'string') return at.code
  return undefined
}
