/** What Envoy and the picker say to each other on one ext_proc stream, as plain values: the fields that matter here and no others. */

/** Header names in lower case; a repeated header is joined with ", ". */
export type HeaderBag = Readonly<Record<string, string>>

/** A google.protobuf.Value as JSON has it. */
export type MetadataValue = null | number | string | boolean | readonly MetadataValue[] | { readonly [key: string]: MetadataValue }

/** `metadata_context.filter_metadata` by namespace; only the namespaces of `METADATA_NAMESPACES` are read. */
export type MetadataContext = Readonly<Record<string, MetadataValue>>

/** Envoy's word on how it sends bodies (ProcessingMode.BodySendMode), in the first message of a stream since 1.33. */
export interface ProtocolConfig {
  readonly requestBodyMode: number
  readonly responseBodyMode: number
}

/** BodySendMode FULL_DUPLEX_STREAMED: the only mode in which the picker may answer a body later and in pieces of its own. */
export const FULL_DUPLEX_STREAMED = 4

/** The side of a call that a message belongs to. */
export type Side = 'request' | 'response'

export type FromEnvoy =
  | {
      readonly kind: 'headers'
      readonly side: Side
      readonly headers: HeaderBag
      readonly endOfStream: boolean
      readonly metadata: MetadataContext | undefined
      readonly protocol: ProtocolConfig | undefined
    }
  | { readonly kind: 'body'; readonly side: Side; readonly body: Buffer; readonly endOfStream: boolean }
  | { readonly kind: 'trailers'; readonly side: Side }
  /** A message of a newer protocol, with nothing in it that is known here. */
  | { readonly kind: 'unknown' }

/** Where a call goes: said twice, as a header and as dynamic metadata, since gateways differ in which they obey. */
export interface Destination {
  /** "ip:port" or "ip:port,ip:port". */
  readonly endpoints: string
  /** Cost as a score per "ip:port", higher is better; absent where not asked for. */
  readonly scores?: Readonly<Record<string, number>>
}

export type SetHeader = readonly [name: string, value: string]

export type ToEnvoy =
  | {
      readonly kind: 'headers'
      readonly side: Side
      readonly setHeaders: readonly SetHeader[]
      readonly removeHeaders?: readonly string[]
      readonly destination?: Destination
    }
  | { readonly kind: 'body'; readonly side: Side; readonly body: Buffer; readonly endOfStream: boolean }
  /** "Go on" to a body message of a mode in which the picker may not give bytes of its own. */
  | { readonly kind: 'seen'; readonly side: Side }
  | { readonly kind: 'trailers'; readonly side: Side }
  | {
      readonly kind: 'immediate'
      readonly status: number
      readonly headers: readonly SetHeader[]
      readonly body: string
      readonly details: string
    }

/** Request header and metadata key of the destination. */
export const DESTINATION_KEY = 'x-gateway-destination-endpoint'
/** Metadata key of the endpoint that really served, told with the response headers. */
export const SERVED_KEY = 'x-gateway-destination-endpoint-served'
/** Metadata key of the optional scores (proposed v1.1). */
export const SCORES_KEY = 'x-gateway-destination-endpoint-scores'
/** Metadata key of the candidates that the gateway allows. */
export const SUBSET_KEY = 'x-gateway-destination-endpoint-subset'
/** Namespace of destination, served and scores. */
export const LB_NAMESPACE = 'envoy.lb'
/** Namespace of the subset. */
export const SUBSET_NAMESPACE = 'envoy.lb.subset_hint'
