import type { Route } from './answer.ts'
import { accessPage } from './pages/access/access.ts'
import { changePassword, endOwnSession, passwordPage, setPassword } from './pages/access/account.ts'
import { addKey, confirmRevoke, revokeKey } from './pages/access/keys.ts'
import { addPerson, changeRole, confirmRemove, endSessions, makeLink, personPage, removePerson } from './pages/access/people.ts'
import { auditPage, exportAudit } from './pages/audit.ts'
import { beginOidc, finishOidc } from './pages/oidc.ts'
import { setZone } from './pages/theme.ts'
import type { PageParts } from './routes.ts'

/** Who may come in and how, and what everybody did. */
export function accessRoutes(parts: PageParts): Route[] {
  return [
    { method: 'get', path: '/password/:token', need: 'anyone', handle: (visit) => passwordPage(parts, visit) },
    { method: 'post', path: '/password/:token', need: 'anyone', handle: (visit) => setPassword(parts, visit) },
    { method: 'get', path: '/sign-in/oidc', need: 'anyone', handle: (visit) => beginOidc(parts, visit) },
    { method: 'get', path: '/sign-in/oidc/callback', need: 'anyone', handle: (visit) => finishOidc(parts, visit) },
    { method: 'get', path: '/access', need: 'viewer', handle: (visit) => accessPage(parts, visit) },
    { method: 'post', path: '/access/password', need: 'viewer', handle: (visit) => changePassword(parts, visit) },
    { method: 'post', path: '/access/sessions/end', need: 'viewer', handle: (visit) => endOwnSession(parts, visit) },
    { method: 'post', path: '/access/zone', need: 'viewer', handle: setZone },
    { method: 'post', path: '/access/people', need: 'admin', handle: (visit) => addPerson(parts, visit) },
    { method: 'get', path: '/access/people/:userId', need: 'admin', handle: (visit) => personPage(parts, visit) },
    { method: 'post', path: '/access/people/:userId/role', need: 'admin', handle: (visit) => changeRole(parts, visit) },
    { method: 'post', path: '/access/people/:userId/link', need: 'admin', handle: (visit) => makeLink(parts, visit) },
    { method: 'post', path: '/access/people/:userId/sessions/end', need: 'admin', handle: (visit) => endSessions(parts, visit) },
    { method: 'get', path: '/access/people/:userId/remove', need: 'admin', handle: (visit) => confirmRemove(parts, visit) },
    { method: 'post', path: '/access/people/:userId/remove', need: 'admin', handle: (visit) => removePerson(parts, visit) },
    { method: 'post', path: '/access/keys', need: 'admin', handle: (visit) => addKey(parts, visit) },
    { method: 'get', path: '/access/keys/:keyId/revoke', need: 'admin', handle: (visit) => confirmRevoke(parts, visit) },
    { method: 'post', path: '/access/keys/:keyId/revoke', need: 'admin', handle: (visit) => revokeKey(parts, visit) },
    { method: 'get', path: '/audit', need: 'operator', handle: (visit) => auditPage(parts, visit) },
    { method: 'get', path: '/audit/export', need: 'operator', handle: (visit) => exportAudit(parts, visit) },
  ]
}
