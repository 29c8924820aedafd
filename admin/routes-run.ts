import type { Route } from './answer.ts'
import { exportSettings, reviewSettings, saveSettings, settingsPage } from './pages/settings/settings.ts'
import type { PageParts } from './routes.ts'

/** What runs, how it is set, and trying it out. */
export function runRoutes(parts: PageParts): Route[] {
  return [
    { method: 'get', path: '/settings', need: 'viewer', handle: (visit) => settingsPage(parts, visit) },
    { method: 'get', path: '/settings/review', need: 'operator', handle: (visit) => reviewSettings(parts, visit) },
    { method: 'post', path: '/settings/save', need: 'operator', handle: (visit) => saveSettings(parts, visit) },
    { method: 'get', path: '/settings/export', need: 'operator', handle: () => exportSettings(parts) },
  ]
}
