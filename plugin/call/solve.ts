/**
 * Solves A x = b for a symmetric positive definite A by Cholesky's factorisation (Golub and Van Loan, Matrix Computations, 4.2). `lower`
 * is A by rows, of which only the lower triangle is read; it is overwritten with the factor, and `right` (b) with x, which is returned. Throws where A is not
 * positive definite.
 */
export function solveSymmetric(lower: Float64Array, right: Float64Array): Float64Array {
  const size = right.length
  factor(lower, size)
  for (let i = 0; i < size; i++) {
    let sum = right[i] ?? 0
    for (let k = 0; k < i; k++) sum -= (lower[i * size + k] ?? 0) * (right[k] ?? 0)
    right[i] = sum / (lower[i * size + i] ?? 0)
  }
  for (let i = size - 1; i >= 0; i--) {
    let sum = right[i] ?? 0
    for (let k = i + 1; k < size; k++) sum -= (lower[k * size + i] ?? 0) * (right[k] ?? 0)
    right[i] = sum / (lower[i * size + i] ?? 0)
  }
  return right
}

function factor(lower: Float64Array, size: number): void {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = lower[i * size + j] ?? 0
      for (let k = 0; k < j; k++) sum -= (lower[i * size + k] ?? 0) * (lower[j * size + k] ?? 0)
      if (i !== j) lower[i * size + j] = sum / (lower[j * size + j] ?? 0)
      else if (sum > 0) lower[i * size + i] = Math.sqrt(sum)
      else throw new Error(`the matrix is not positive definite: pivot ${i} is ${sum}`)
    }
  }
}
