import { codeOnly, importsOf, roomOf, type SourceFile } from './source.ts'

/** The rules of the house that a machine can check. Each takes files and gives back one sentence per violation. */
export interface Permission {
  /** Rooms whose values may be imported. */
  readonly values: ReadonlySet<string>
  /** Rooms of which only types may be imported. */
  readonly types: ReadonlySet<string>
}

/** Reads a table of `| room, room | what it may import |` rows. Throws on a room that has no row of its own. */
export function parseTable(table: string): ReadonlyMap<string, Permission> {
  const rows = table
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.replace(/\([^)]*\)/g, '').trim()))
    .filter((cells) => cells.length === 4 && cells[1] !== 'room' && !/^-+$/.test(cells[1]!))
  const rooms = rows.flatMap((cells) => cells[1]!.split(/,\s*/))
  const parsed = rows.flatMap((cells) => cells[1]!.split(/,\s*/).map((room) => [room, parsePermission(cells[2]!, rooms)] as const))
  return new Map(parsed)
}

function parsePermission(cell: string, rooms: readonly string[]): Permission {
  if (cell === 'nothing') return { values: new Set(), types: new Set() }
  if (cell === 'anything') return { values: new Set(rooms), types: new Set() }
  const but = /^everything but (.*)$/.exec(cell)?.[1]?.split(/,\s*/)
  const items = but ? rooms.filter((room) => !but.includes(room)) : cell.split(/[,;]\s*/)
  const named = items.map((item) => ({ room: item.replace(/^types of /, ''), typesOnly: item.startsWith('types of ') }))
  for (const { room } of named) if (!rooms.includes(room)) throw new Error(`the table names "${room}", which has no row`)
  const pick = (typesOnly: boolean) => new Set(named.filter((each) => each.typesOnly === typesOnly).map((each) => each.room))
  return { values: pick(false), types: pick(true) }
}

/** Imports between rooms that the table does not have. */
export function importViolations(files: readonly SourceFile[], table: ReadonlyMap<string, Permission>): string[] {
  return files.flatMap((file) => {
    const from = roomOf(file.path)
    const permission = from === undefined ? undefined : table.get(from)
    if (!permission) return [`${file.path}: the room "${from}" has no row in the table`]
    return importsOf(file).flatMap((each) => {
      if (!each.ours) return []
      const to = roomOf(each.target)
      if (to === from) return []
      if (to === undefined) return [`${file.path} imports ${each.target}, which is outside plugin/ and admin/`]
      if (permission.values.has(to) || (each.typeOnly && permission.types.has(to))) return []
      const remedy = permission.types.has(to) ? '; only with `import type`' : ''
      return [`${file.path} imports ${each.target}: ${from} may not import ${to}${remedy}`]
    })
  })
}

/** A package, or a whole scope of them, with the one folder that may import it. */
export interface Door {
  readonly packages: RegExp
  readonly folder: string
}

/** Packages imported beside their one door. */
export function doorViolations(files: readonly SourceFile[], doors: readonly Door[]): string[] {
  return files.flatMap((file) =>
    importsOf(file)
      .filter((each) => !each.ours)
      .flatMap(({ target }) => {
        const door = doors.find((one) => one.packages.test(target))
        return !door || file.path.startsWith(door.folder) ? [] : [`${file.path} imports ${target}: its only door is ${door.folder}`]
      }),
  )
}

/** Code that only the named files may hold. */
export interface Reserved {
  readonly code: RegExp
  readonly what: string
  readonly files: readonly string[]
}

/** Reserved code found elsewhere, with its line. */
export function reservedViolations(files: readonly SourceFile[], reserved: readonly Reserved[]): string[] {
  return files.flatMap((file) => {
    const lines = codeOnly(file.text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' '))).split('\n')
    return reserved
      .filter((one) => !one.files.includes(file.path))
      .flatMap((one) =>
        lines.flatMap((line, i) => (one.code.test(line) ? [`${file.path}:${i + 1}: ${one.what} belongs to ${one.files.join(', ')}`] : [])),
      )
  })
}

const DRAWER = /^(utils?|helpers?|common|misc|manager|service|types)$/
const LINES_MAX = 300

/** Files that are a drawer, a barrel or too long, and default exports. */
export function shapeViolations(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const words = path.split('/').map((part) => part.replace(/\.\w+$/, ''))
    const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
    const exportsDefault = /^\s*export\s+(default\b|\{[^}]*\bas\s+default\b)/m.test(codeOnly(text))
    return [
      ...words.filter((word) => DRAWER.test(word)).map((word) => `${path}: "${word}" says nothing about what is inside`),
      ...(words.at(-1) === 'index' ? [`${path}: no index.ts; import the file that has it`] : []),
      ...(lines > LINES_MAX ? [`${path}: ${lines} lines, at most ${LINES_MAX}`] : []),
      ...(exportsDefault ? [`${path}: no default export`] : []),
    ]
  })
}

const EXPORTED_FUNCTION =
  /^export (?:async )?function\*? (\w+)|^export const (\w+)[^=\n]*= (?:async )?(?:<[^>\n]*>)?(?:\(.*=>|\($|\w+ =>|function\b)/

/** Exported functions without a sentence above them. */
export function docstringViolations(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const lines = text.split('\n')
    return lines.flatMap((line, i) => {
      const match = EXPORTED_FUNCTION.exec(line)
      const name = match?.[1] ?? match?.[2]
      if (!name) return []
      const above = lines[i - 1] ?? ''
      const overload = new RegExp(`^export function ${name}\\b`).test(above)
      return overload || above.trimEnd().endsWith('*/') ? [] : [`${path}:${i + 1}: ${name} has no docstring`]
    })
  })
}
