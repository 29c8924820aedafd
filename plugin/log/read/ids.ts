/** Call ids as people see them and as key ranges, for whoever reads the log and may not know calls (the admin). */
export { firstIdAt, formatId, parseId, unixMsOfId } from '../../call/id.ts'
