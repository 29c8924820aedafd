import { readdirSync, readFileSync } from 'node:fs'
import Handlebars from 'handlebars'
import type { Model } from './answer.ts'
import { adminFolder } from './assets.ts'

/** Fills a view: HTML with every value escaped. Throws on an unknown view and on a name the model lacks. */
export type Render = (view: string, model: Model) => string

/** All views compiled: `views/*.hbs` are pages, `views/partials/*.hbs` what they share; of these, `live-*` can be filled alone. */
export function createRender(folder: string = adminFolder('views')): Render {
  const handlebars = Handlebars.create()
  const partials = templates(`${folder}/partials`)
  for (const [name, source] of partials) handlebars.registerPartial(name, source)
  const live = partials.filter(([name]) => name.startsWith('live-'))
  const views = new Map(
    [...templates(folder), ...live].map(([name, source]) => [name, handlebars.compile(source, { strict: true, preventIndent: true })]),
  )
  return (name, model) => {
    const view = views.get(name)
    if (view === undefined) throw new Error(`there is no view ${name}`)
    return view(model)
  }
}

function templates(folder: string): [name: string, source: string][] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.hbs'))
    .map((file) => [file.slice(0, -'.hbs'.length), readFileSync(`${folder}/${file}`, 'utf8')])
}
