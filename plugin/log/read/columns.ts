/** The column lists that logged rows are in, for whoever reads the log and may not know placement (the admin): the same ones, not copies. */
export { CALL_COLUMNS, CANDIDATE_COLUMNS, type Column, FEATURE_HASH } from '../../placement/features.ts'
