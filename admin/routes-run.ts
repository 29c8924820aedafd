import type { Route } from './answer.ts'
import { exportSettings, reviewSettings, saveSettings, settingsPage } from './pages/settings/settings.ts'
import { supportBundle } from './pages/system/bundle.ts'
import { systemPage } from './pages/system/system.ts'
import { TRY_FORM_BYTES_MAX, tryCall, tryPage } from './pages/try-it.ts'
import type { PageParts } from './routes.ts'

/** What runs, how it is set, and trying it out. */
export function runRoutes(parts: PageParts): Route[] {
  return [
    { method: 'get', path: '/settings', need: 'viewer', handle: (visit) => settingsPage(parts, visit) },
    { method: 'get', path: '/settings/review', need: 'operator', handle: (visit) => reviewSettings(parts, visit) },
    { method: 'post', path: '/settings/save', need: 'operator', handle: (visit) => saveSettings(parts, visit) },
    { method: 'get', path: '/settings/export', need: 'operator', handle: () => exportSettings(parts) },
    { method: 'get', path: '/try', need: 'viewer', handle: (visit) => tryPage(parts, visit) },
    { method: 'post', path: '/try', need: 'viewer', formBytesMax: TRY_FORM_BYTES_MAX, handle: (visit) => tryCall(parts, visit) },
    { method: 'get', path: '/system', need: 'viewer', handle: (visit) => systemPage(parts, visit) },
    { method: 'get', path: '/system/support-bundle', need: 'admin', handle: (visit) => supportBundle(parts, visit) },
  ]
}
