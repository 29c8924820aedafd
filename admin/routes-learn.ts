import type { Route } from './answer.ts'
import { askForRun, labPage } from './pages/lab/lab.ts'
import { cancelRun, comparePage, labRunEvents, labRunPage } from './pages/lab/run.ts'
import { turnLearned } from './pages/models/drift.ts'
import { modelPage } from './pages/models/model.ts'
import { modelsPage } from './pages/models/models.ts'
import { confirmPromote, confirmRollBack, endTrial, promote, rollBack, startTrial, tryPage } from './pages/models/serve.ts'
import { closeNotice } from './pages/overview-cards.ts'
import { trainingRunEvents, trainingRunPage } from './pages/training/run.ts'
import { askForTraining, cancelTraining, retryTraining, trainingPage } from './pages/training/training.ts'
import type { PageParts } from './routes.ts'

/** What is learned, what serves, what is tried out. */
export function learnRoutes(parts: PageParts): Route[] {
  return [
    { method: 'post', path: '/notices/:noticeId/close', need: 'operator', handle: (visit) => closeNotice(parts, visit) },
    { method: 'get', path: '/models', need: 'viewer', handle: (visit) => modelsPage(parts, visit) },
    { method: 'get', path: '/models/roll-back', need: 'operator', handle: (visit) => confirmRollBack(parts, visit) },
    { method: 'post', path: '/models/roll-back', need: 'operator', handle: (visit) => rollBack(parts, visit) },
    { method: 'post', path: '/models/trials/:trialId/end', need: 'operator', handle: (visit) => endTrial(parts, visit) },
    { method: 'post', path: '/models/drift', need: 'operator', handle: (visit) => turnLearned(parts, visit) },
    { method: 'get', path: '/models/:modelId', need: 'viewer', handle: (visit) => modelPage(parts, visit) },
    { method: 'get', path: '/models/:modelId/promote', need: 'operator', handle: (visit) => confirmPromote(parts, visit) },
    { method: 'post', path: '/models/:modelId/promote', need: 'operator', handle: (visit) => promote(parts, visit) },
    { method: 'get', path: '/models/:modelId/try', need: 'operator', handle: (visit) => tryPage(parts, visit) },
    { method: 'post', path: '/models/:modelId/try', need: 'operator', handle: (visit) => startTrial(parts, visit) },
    { method: 'get', path: '/training', need: 'viewer', handle: (visit) => trainingPage(parts, visit) },
    { method: 'post', path: '/training', need: 'operator', handle: (visit) => askForTraining(parts, visit) },
    { method: 'get', path: '/training/:runId', need: 'viewer', handle: (visit) => trainingRunPage(parts, visit) },
    { method: 'get', path: '/training/:runId/live', need: 'viewer', handle: (visit) => trainingRunEvents(parts, visit) },
    { method: 'post', path: '/training/:runId/cancel', need: 'operator', handle: (visit) => cancelTraining(parts, visit) },
    { method: 'post', path: '/training/:runId/retry', need: 'operator', handle: (visit) => retryTraining(parts, visit) },
    { method: 'get', path: '/lab', need: 'viewer', handle: (visit) => labPage(parts, visit) },
    { method: 'post', path: '/lab', need: 'operator', handle: (visit) => askForRun(parts, visit) },
    { method: 'get', path: '/lab/compare', need: 'viewer', handle: (visit) => comparePage(parts, visit) },
    { method: 'get', path: '/lab/:labId', need: 'viewer', handle: (visit) => labRunPage(parts, visit) },
    { method: 'get', path: '/lab/:labId/live', need: 'viewer', handle: (visit) => labRunEvents(parts, visit) },
    { method: 'post', path: '/lab/:labId/cancel', need: 'operator', handle: (visit) => cancelRun(parts, visit) },
  ]
}
