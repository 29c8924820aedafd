const NAME = /^[\p{L}\p{N}][\p{L}\p{N} ._@-]{0,63}$/u
const KEY_NAME = /^[\w.@-]{1,64}$/

/** What is wrong with a user's name, in words for the page; undefined when it may be used. */
export function userNameProblem(name: string): string | undefined {
  return NAME.test(name) ? undefined : 'Choose a name of letters, digits, space and . _ @ - only, up to 64.'
}

/** What is wrong with a key's name, in words for the page; it appears in the log and in labels. */
export function keyNameProblem(name: string): string | undefined {
  return KEY_NAME.test(name) ? undefined : 'Choose a name of letters, digits and . _ @ - only, without spaces, up to 64.'
}

/** A text from elsewhere as a user's name: what may not stand there becomes `_`. */
export function asUserName(text: string): string {
  const name = [...text.trim()].map((one) => (/[\p{L}\p{N} ._@-]/u.test(one) ? one : '_')).join('')
  return (/^[\p{L}\p{N}]/u.test(name) ? name : `u${name}`).slice(0, 48)
}
