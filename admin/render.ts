import { readdirSync, readFileSync } from 'node:fs'
import Handlebars from 'handlebars'
import type { Model } from './answer.ts'
import { adminFolder } from './assets.ts'

/** Fills a view: HTML with every value escaped. Throws on an unknown view and on a name the model lacks. */
export type Render = (view: string, model: Model) => string

/** All views compiled: `views/*.hbs` are pages, `views/partials/*.hbs` what they share. */
export function createRender(folder: string = adminFolder('views')): Render {
  const handlebars = Handlebars.create()
  for (const [name, source] of templates(`${folder}/partials`)) handlebars.registerPartial(name, source)
  const views = new Map(
    templates(folder).map(([name, source]) => [name, handlebars.compile(source, { strict: true, preventIndent: true })]),
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
