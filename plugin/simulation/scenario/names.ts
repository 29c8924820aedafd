/** The generated scenarios by name, for who only offers them: making them measures saturation first, which takes a moment. A test holds both together. */
export const SCENARIO_NAMES: readonly { readonly name: string; readonly label: string }[] = [
  { name: 'paper-v100x4@11', label: 'v100-paper, mix paper' },
  { name: 'paper-v100x4@14', label: 'v100-paper, mix paper' },
  { name: 'paper-v100x4@20', label: 'v100-paper, mix paper' },
  { name: 'paper-v100x8@40', label: 'v100-paper, mix paper' },
  { name: 'v100x4@12', label: 'v100-32g, mix wide' },
  { name: 'v100x4@20', label: 'v100-32g, mix wide' },
  { name: 'v100x4@26', label: 'v100-32g, mix wide' },
  { name: 'v100x4@40', label: 'v100-32g, mix wide' },
  { name: 'v100x8@40', label: 'v100-32g, mix wide' },
  { name: 'a100x4@110', label: 'a100-7b, mix wide' },
  { name: 'mixed@60', label: 'v100-32g + a100-7b, mix wide' },
  { name: 'bursty', label: 'a100-7b, mix wide' },
  { name: 'failures', label: 'a100-7b, mix wide' },
]
