import * as client from 'openid-client'
import type { Clock } from '../../plugin/clock.ts'
import type { AdminConfig } from '../../plugin/config-admin.ts'
import type { Role } from '../../plugin/log/control/people.ts'
import { createToken } from './tokens.ts'

/** How people sign in elsewhere. */
export type OidcConfig = NonNullable<AdminConfig['oidc']>

/** Somebody whom the provider vouches for. */
export interface OidcVisitor {
  readonly issuer: string
  readonly subject: string
  /** What they are called there; not unique. */
  readonly name: string
  /** Undefined: nothing the provider says of them gives a role here. */
  readonly role: Role | undefined
}

/** The door to an OpenID Connect provider: authorization code flow with PKCE, state and nonce (OpenID Connect Core 1.0, RFC 7636, RFC 9700). */
export interface OidcDoor {
  /** What the button says. */
  readonly label: string
  readonly issuer: string
  /** Where to send the visitor, and the token to keep in their browser meanwhile. Rejects when the provider cannot be reached. */
  begin(next: string): Promise<{ readonly to: URL; readonly token: string }>
  /** Who came back, and where they wanted to go. `query` is the address's own, with its question mark. Rejects when anything does not fit. */
  finish(parts: {
    readonly token: string | undefined
    readonly query: string
  }): Promise<{ readonly visitor: OidcVisitor; readonly next: string }>
}

/** Where the provider sends people back to. */
export const CALLBACK_PATH = '/sign-in/oidc/callback'

/** Signing in elsewhere takes a minute, with a second factor that must be found first some more. */
export const BEGUN_LIFE_MS = 10 * 60_000
/** Begun sign-ins remembered; the oldest go first. */
const BEGUN_MAX = 1_000
/** A provider that is slower than this is as good as gone; the password form is still there. */
const TIMEOUT_S = 10

interface Begun {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
  readonly next: string
  readonly untilMs: number
}

/** A door to the provider of `config`; it is asked for its addresses when first needed, and again after a failure. */
export function createOidcDoor(parts: { readonly config: OidcConfig; readonly publicUrl: () => string; readonly clock: Clock }): OidcDoor {
  const { config, clock } = parts
  const begun = new Map<string, Begun>()
  let discovered: Promise<client.Configuration> | undefined
  const provider = (): Promise<client.Configuration> => {
    discovered ??= discover(config).catch((error: unknown) => {
      discovered = undefined
      throw error
    })
    return discovered
  }
  return {
    label: config.label,
    issuer: config.issuer,
    async begin(next) {
      const at = await provider()
      const verifier = client.randomPKCECodeVerifier()
      const one: Begun = {
        state: client.randomState(),
        nonce: client.randomNonce(),
        verifier,
        next,
        untilMs: clock.nowMs() + BEGUN_LIFE_MS,
      }
      const token = createToken()
      if (begun.size >= BEGUN_MAX) begun.delete(begun.keys().next().value ?? token)
      begun.set(token, one)
      const to = client.buildAuthorizationUrl(at, {
        redirect_uri: parts.publicUrl() + CALLBACK_PATH,
        scope: config.scopes.join(' '),
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state: one.state,
        nonce: one.nonce,
      })
      return { to, token }
    },
    async finish({ token, query }) {
      const one = begun.get(token ?? '')
      begun.delete(token ?? '')
      if (one === undefined || one.untilMs <= clock.nowMs()) throw new Error('this sign-in was not begun in this browser, or too long ago')
      const at = await provider()
      const tokens = await client.authorizationCodeGrant(at, new URL(parts.publicUrl() + CALLBACK_PATH + query), {
        pkceCodeVerifier: one.verifier,
        expectedState: one.state,
        expectedNonce: one.nonce,
        idTokenExpected: true,
      })
      const claims = tokens.claims()
      if (claims === undefined) throw new Error('the provider gave no ID token')
      const told = await withUserInfo({ at, claims, accessToken: tokens.access_token, config })
      return { visitor: { issuer: claims.iss, subject: claims.sub, name: nameOf(told), role: roleOf(told, config) }, next: one.next }
    },
  }
}

function discover(config: OidcConfig): Promise<client.Configuration> {
  const auth = config.clientSecret === undefined ? client.None() : client.ClientSecretBasic(config.clientSecret)
  // The configuration lets http pass for this machine alone.
  const execute = config.issuer.startsWith('http:') ? [client.allowInsecureRequests] : []
  return client.discovery(new URL(config.issuer), config.clientId, undefined, auth, { execute, timeout: TIMEOUT_S })
}

type Claims = Readonly<Record<string, unknown>>

/** Some providers put groups and names into the ID token, others only into the answer about the user. */
async function withUserInfo(parts: {
  readonly at: client.Configuration
  readonly claims: client.IDToken
  readonly accessToken: string
  readonly config: OidcConfig
}): Promise<Claims> {
  const { at, claims, accessToken, config } = parts
  const enough = config.roleClaim in claims && 'preferred_username' in claims
  if (enough || at.serverMetadata().userinfo_endpoint === undefined) return claims
  return { ...(await client.fetchUserInfo(at, accessToken, claims.sub)), ...claims }
}

function nameOf(claims: Claims): string {
  for (const key of ['preferred_username', 'email', 'name', 'sub']) {
    const value = claims[key]
    if (typeof value === 'string' && value.trim() !== '') return value
  }
  return 'somebody'
}

/** The highest role that a value of the role claim gives. */
export function roleOf(claims: Claims, config: Pick<OidcConfig, 'roleClaim' | 'roles' | 'everyone'>): Role | undefined {
  const told = claims[config.roleClaim]
  const values = (Array.isArray(told) ? told : [told]).map(String)
  for (const role of ['admin', 'operator', 'viewer'] as const)
    if (config.everyone === role || config.roles[role].some((name) => told !== undefined && values.includes(name))) return role
  return undefined
}
