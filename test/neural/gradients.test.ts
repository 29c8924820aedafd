import { expect, test } from 'vitest'
import { checkGradient } from './gradient-check.ts'
import { fillInputs, MODELS, OPERATORS } from './subjects.ts'

/** The bar that every derivative must hold, relative, in float64. */
const TOLERANCE = 1e-6

test.each(Object.entries({ ...OPERATORS, ...MODELS }))('the derivative of %s is what finite differences say', async (_, scalar) => {
  const { worst, largest, parameters } = await checkGradient(scalar, { fill: fillInputs })
  expect(parameters).toBeGreaterThan(0)
  expect(largest).toBeGreaterThan(0)
  expect(worst).toBeLessThan(TOLERANCE)
})
