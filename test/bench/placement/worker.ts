import { parentPort, workerData } from 'node:worker_threads'
import { loadCatalogue } from './catalogue.ts'
import type { WorkerData } from './crew.ts'
import { playUnit, readModel, type Unit } from './work.ts'

const { modelFolder } = workerData as WorkerData
const model = modelFolder === undefined ? undefined : readModel(modelFolder)

/** Plays units as they come and posts what they gave. */
const { named, sweep, more } = await loadCatalogue((workerData as WorkerData).dataDir)
const scenarios = new Map([...named, ...sweep, ...more].map((scenario) => [scenario.name, scenario]))

parentPort?.on('message', (unit: Unit) => {
  const scenario = scenarios.get(unit.scenario)
  if (!scenario) throw new Error(`no scenario ${unit.scenario}`)
  parentPort?.postMessage(playUnit(unit, scenario, model))
})
parentPort?.postMessage('ready')
