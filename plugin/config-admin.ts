import { z } from 'zod'
import type { Problem } from './config.ts'
import type { Listen, secretSchema } from './config-schema.ts'
import type { SecretReader } from './config-secrets.ts'

const LOOPBACK_URL = /^http:\/\/(localhost|127\.[\d.]+|\[::1\])(:\d+)?(\/|$)/

/** An https address; plain http only on this machine, since whoever listens in could sign in. */
const secureUrl = z.string('allowed is an https address').transform((value, context) => {
  if (URL.canParse(value) && (value.startsWith('https://') || LOOPBACK_URL.test(value))) return value.replace(/\/+$/, '')
  context.addIssue({ code: 'custom', message: 'allowed is an https address such as https://id.example.com (http only on this machine)' })
  return z.NEVER
})

const names = z.array(z.string().min(1), 'allowed is a list of names').default([])

/** Sign-in by an OpenID Connect provider, beside passwords. Roles come from a claim at every sign-in. */
const oidc = (secret: typeof secretSchema) =>
  z.strictObject({
    issuer: secureUrl,
    clientId: z.string().min(1, 'allowed is the id that the provider gave this application'),
    // Without it: a public client, by PKCE alone.
    clientSecret: secret.optional(),
    label: z.string().min(1).max(64).default('single sign-on'),
    scopes: z.array(z.string().min(1)).default(['openid', 'profile', 'email']),
    roleClaim: z.string().min(1).default('groups'),
    roles: z.strictObject({ admin: names, operator: names, viewer: names }).prefault({}),
    everyone: z.enum(['none', 'viewer', 'operator', 'admin'], 'allowed are none, viewer, operator and admin').default('none'),
  })

/** The admin's part of phasewise.yaml. */
export const adminSchema = <Address extends z.ZodType<Listen | undefined>>(listen: Address, secret: typeof secretSchema) =>
  z.strictObject({
    listen,
    // What people type to reach it, where that is not the address above: behind a proxy, or for sign-in by OpenID Connect.
    publicUrl: secureUrl.optional(),
    // Reverse proxies in front that set X-Forwarded-For and -Proto: so many from the right are believed.
    trustedProxies: z.number().int('allowed is a whole number').min(0).max(10).default(0),
    // 'database': what people set in the admin wins over this file; 'file': this file alone counts, and Settings only shows.
    settings: z.enum(['database', 'file'], 'allowed are database and file').default('database'),
    oidc: oidc(secret).optional(),
  })

type Parsed = z.infer<ReturnType<typeof adminSchema<z.ZodType<Listen | undefined>>>>

/** The admin's configuration with its secret read. */
export type AdminConfig = Omit<Parsed, 'oidc'> & {
  readonly oidc?: Omit<NonNullable<Parsed['oidc']>, 'clientSecret'> & { readonly clientSecret?: string }
}

/** Reads the secret. What cannot work is added to `problems`. */
export function resolveAdmin(given: { readonly admin: Parsed; readonly secrets: SecretReader; readonly problems: Problem[] }): AdminConfig {
  const { oidc, ...rest } = given.admin
  if (oidc === undefined) return rest
  const { clientSecret: named, ...known } = oidc
  const clientSecret = given.secrets(named, 'admin.oidc.clientSecret')
  const { admin, operator, viewer } = oidc.roles
  if (oidc.everyone === 'none' && admin.length + operator.length + viewer.length === 0)
    given.problems.push({
      key: 'admin.oidc.roles',
      got: 'none',
      remedy: `nobody could sign in: name values of the claim ${oidc.roleClaim} per role, or set everyone to a role`,
    })
  return { ...rest, oidc: { ...known, ...(clientSecret === undefined ? {} : { clientSecret }) } }
}
