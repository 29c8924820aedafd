/** What was asked of the registry cannot be done as things stand; the message says why, for whoever asked. Nothing was changed. */
export class RegistryRefused extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'RegistryRefused'
  }
}
