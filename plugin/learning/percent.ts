/** A share or gain as verdicts say it. */
export const percent = (ratio: number): string => `${(100 * ratio).toFixed(1)} %`
