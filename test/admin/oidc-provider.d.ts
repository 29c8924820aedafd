/** The little of oidc-provider's surface that the tests use; the package ships no types. */
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  export interface Account {
    readonly accountId: string
    claims(): Readonly<Record<string, unknown>>
  }
  class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>)
    callback(): (request: IncomingMessage, response: ServerResponse) => void
  }

  // biome-ignore lint/style/noDefaultExport: that is how the package exports it
  export { Provider as default }
}
