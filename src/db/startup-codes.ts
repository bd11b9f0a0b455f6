/**
 * What a connection to Postgres begins with: the number in the place of the protocol's version (PostgreSQL documentation,
 * 54.7, StartupMessage, SSLRequest, GSSENCRequest, CancelRequest).
 */
export const startupCode = {
  protocol3: 196_608,
  cancelRequest: 80_877_102,
  sslRequest: 80_877_103,
  gssRequest: 80_877_104,
};
